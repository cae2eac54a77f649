"""Hosts as testinfra sees them, over OpenSSH with the same keys and the same care for host keys."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import testinfra

from cloudinit.checks import CheckedHost
from deployer.become import Become
from deployer.endpoint import Endpoint
from deployer.remote import Remote


def ssh_arguments(end: Endpoint) -> list[str]:
    """`ssh` options for an endpoint: never a question, never an unknown host key."""
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=30"]
    if end.config_files is not None:
        options += ["-F", end.config_files[0] if end.config_files else "none"]
    if end.known_hosts:
        files = " ".join(str(path) for path in end.known_hosts)
        options += ["-o", f"UserKnownHostsFile={files}"]
    if end.only_known:
        options += ["-o", "GlobalKnownHostsFile=none"]
    for key in end.keys:
        options += ["-i", key]
    if end.keys_only:
        options += ["-o", "IdentitiesOnly=yes"]
    if end.jump:
        options += ["-J", end.jump]
    if end.proxy_command:
        options += ["-o", f"ProxyCommand={end.proxy_command}"]
    return options


@dataclass(frozen=True)
class Answer:
    """What a command returned, as the checks read it."""

    stdout: str
    stderr: str
    rc: int


@dataclass(frozen=True)
class HostBySudo:
    """A host whose sudo asks for a password, which travels on standard input and in no command line."""

    remote: Remote
    become: Become

    def run(self, command: str, /) -> Answer:
        """Run a shell command as root."""
        words = self.become.command(f"bash -c {shlex.quote(command)}")
        done = self.remote.exec(words, stdin=self.become.head.encode(), timeout=300)
        return Answer(done.stdout, done.stderr, done.returncode)


def testinfra_host(end: Endpoint) -> CheckedHost:
    """The testinfra host of an endpoint; it uses sudo where the user is not root."""
    address = f"[{end.address}]" if ":" in end.address else end.address
    port = f":{end.port}" if end.port else ""
    host: Any = testinfra.get_host(
        f"ssh://{end.user}@{address}{port}",
        ssh_extra_args=shlex.join(ssh_arguments(end)),
        sudo=end.user != "root",
    )
    checked: CheckedHost = host
    return checked
