"""The operator's side of a rig: a home with SSH keys, names of the hosts, a way into the namespace."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.rig.host import Host
from tests.rig.identity import KeyPair
from tests.rig.netns import Namespace

# `ip netns exec` would hide /sys/fs/cgroup, without which no Docker Engine starts.
ENTER = """\
#!/bin/sh
# Runs a command as the operator of this rig: {namespace}.
exec unshare --mount --propagation slave sh -c '
mount --bind "$1" /etc/hosts && shift || exit 125
exec nsenter --net={path} -- env -u SSH_AUTH_SOCK {environment} PATH={tools}:"$PATH" "$@"' \\
enter {hosts} "$@"
"""

# Both directions of one connection; the ends of either are the end of both.
PIPE = 'exec 3<>"/dev/tcp/$1/$2"; cat <&3 & cat >&3; kill $!'


@dataclass(frozen=True)
class Operator:
    """Files below `home` that make the real command line work against the rig's hosts."""

    home: Path
    namespace: Namespace
    key: KeyPair

    @property
    def ssh(self) -> Path:
        return self.home / ".ssh"

    @property
    def enter(self) -> Path:
        """A program: run its arguments in the operator's namespace."""
        return self.home / "enter"

    @property
    def outside_config(self) -> Path:
        """An OpenSSH configuration for programs that stay outside of the namespace."""
        return self.ssh / "config.outside"

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.home),
            "USER": "root",
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
        }

    def make(self) -> None:
        """Write what does not depend on the hosts."""
        for directory in (self.home, self.ssh, self.home / "run", self.home / "bin"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self.ssh / "id_ed25519", self.key.private, 0o600)
        _write(self.ssh / "id_ed25519.pub", f"{self.key.public} rig\n".encode(), 0o644)
        for program in ("ssh", "scp", "sftp"):
            # OpenSSH looks for its files in the home of the password file, whatever HOME says.
            text = f'#!/bin/sh\nexec /usr/bin/{program} -F {shlex.quote(str(self.ssh / "config"))} "$@"\n'
            _write(self.home / "bin" / program, text.encode(), 0o755)
        environment = " ".join(shlex.quote(f"{name}={value}") for name, value in self.environment.items())
        script = ENTER.format(
            namespace=self.namespace.name,
            path=self.namespace.path,
            environment=environment,
            tools=self.home / "bin",
            hosts=shlex.quote(str(self.home / "hosts")),
        )
        _write(self.enter, script.encode(), 0o755)
        self.know(())

    def know(self, hosts: Iterable[Host]) -> None:
        """Write names, addresses and host keys."""
        names, known, config = ["127.0.0.1 localhost"], [], []
        for host in hosts:
            names.append(f"{host.address} {host.name}")
            known.append(host.known_hosts)
            config += [
                f"Host {host.name} {host.address}",
                f"  HostName {host.address}",
                f"  User {host.user}",
            ]
        config += [
            "Host *",
            f"  IdentityFile {self.ssh / 'id_ed25519'}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {self.ssh / 'known_hosts'}",
            "  GlobalKnownHostsFile /dev/null",
            "  StrictHostKeyChecking yes",
            "  BatchMode yes",
        ]
        _write(self.home / "hosts", _lines(names), 0o644)
        _write(self.ssh / "known_hosts", _lines(known), 0o600)
        _write(self.ssh / "config", _lines(config), 0o600)
        through = (
            f"  ProxyCommand nsenter --net={self.namespace.path} -- bash -c {shlex.quote(PIPE)} pipe %h %p"
        )
        _write(self.outside_config, _lines([*config, through]), 0o600)


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _write(path: Path, data: bytes, mode: int) -> None:
    # In place: another mount namespace may have this very file bound over its own.
    path.write_bytes(data)
    path.chmod(mode)
