"""Reaching a lab's machines with the system's own ssh: configuration and commands. Rendering only."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lab.state import LabState, MachineState

CONNECT_TIMEOUT = 15


def ssh_config(state: LabState) -> str:
    """The lab's ssh_config: each machine by its own name and by its name in the deploy file."""
    blocks = []
    for machine in state.machines:
        names = " ".join(dict.fromkeys((machine.name, machine.host)))
        blocks.append(
            f"Host {names}\n"
            f"    HostName {machine.address}\n"
            f"    Port {machine.ssh_port}\n"
            f"    User {state.user}\n"
            f"    HostKeyAlias {_known_as(machine)}\n"
        )
    every = (
        f"Match host {','.join(f'{machine.address}' for machine in state.machines)}\n"
        f"    IdentityFile {_quoted(str(state.key))}\n"
        "    IdentitiesOnly yes\n"
        "    IdentityAgent none\n"
        f"    UserKnownHostsFile {_quoted(str(state.known_hosts))}\n"
        "    GlobalKnownHostsFile none\n"
        "    StrictHostKeyChecking yes\n"
        "    HostKeyAlgorithms ssh-ed25519\n"
        f"    ConnectTimeout {CONNECT_TIMEOUT}\n"
        "    ServerAliveInterval 15\n"
        "    LogLevel ERROR\n"
    )
    # `Match host` compares with the HostName found above, so that Include-ing the file touches no other host.
    return "\n".join([f"# The lab {state.name}; written by `freehold lab up`.", *blocks, every])


def _known_as(machine: MachineState) -> str:
    """Under what the machine stands in known_hosts: a port of its own is named there, 22 is not."""
    return machine.address if machine.ssh_port == 22 else f"[{machine.address}]:{machine.ssh_port}"


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def ssh_command(
    state: LabState,
    machine: MachineState,
    argv: Sequence[str] = (),
    *,
    options: Sequence[str] = (),
    shell: bool = False,
) -> tuple[str, ...]:
    """The ssh command; `argv` is quoted for the remote shell unless `shell` says it is a shell's text."""
    remote = " ".join(argv) if shell else shlex.join(argv)
    return (
        *("ssh", "-F", str(state.ssh_config), *options, machine.name),
        *(("--", remote) if argv else ()),
    )


def scp_command(state: LabState, paths: Sequence[str], *, recursive: bool = False) -> tuple[str, ...]:
    """The scp command; paths on a machine are written `web-1:/path`."""
    return ("scp", "-F", str(state.ssh_config), *(("-r",) if recursive else ()), "--", *paths)
