"""Getting to know a host: its key as it shows it, and the line in known_hosts that vouches for it."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import paramiko

from deployer.connect import HANDSHAKE_TIMEOUT, build, known_hosts, reason
from deployer.endpoint import CONNECT_TIMEOUT, Endpoint
from freehold.errors import ConnectError, HostKeyError


@dataclass(frozen=True)
class Shown:
    """The key a host shows, and what the files say about it: `known`, or the file a new line goes to."""

    host: str
    name: str
    kind: str
    fingerprint: str
    line: str
    known: bool
    file: Path


def show(end: Endpoint) -> Shown:
    """Ask a host for its key, without logging in. ConnectError; HostKeyError where another one is known."""
    connection = build(end)
    name = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
    try:
        sock = (
            connection.open_gateway()
            if connection.gateway
            else socket.create_connection((connection.host, connection.port), CONNECT_TIMEOUT)
        )
        with contextlib.closing(paramiko.Transport(sock)) as transport:
            transport.start_client(timeout=HANDSHAKE_TIMEOUT)
            key = transport.get_remote_server_key()
    except (OSError, paramiko.SSHException, EOFError) as exc:
        raise ConnectError(
            f"no SSH connection to {connection.host}:{connection.port}: {reason(exc)}",
            host=end.name,
            step="connect",
            hint="check that the host is up, its name resolves, and its firewall admits SSH",
        ) from exc
    finally:
        if isinstance(connection.gateway, type(connection)):
            connection.gateway.close()
    files = known_hosts(end, connection.ssh_config)
    known = _known(files, name, key, end)
    line = f"{name} {key.get_name()} {key.get_base64()}\n"
    file = next(iter(files), Path("~/.ssh/known_hosts").expanduser())
    return Shown(end.name, name, key.get_name(), key.fingerprint, line, known, file)


def _known(files: list[Path], name: str, key: paramiko.PKey, end: Endpoint) -> bool:
    for path in files:
        keys = paramiko.HostKeys()
        with contextlib.suppress(OSError):
            keys.load(str(path))
        found = keys.lookup(name)
        entry = found.get(key.get_name()) if found is not None else None
        if entry is None:
            continue
        if entry != key:
            raise HostKeyError(
                f"its host key is not the known one: it shows {key.get_name()} {key.fingerprint}, "
                f"known is {entry.fingerprint} ({path})",
                host=end.name,
                step="connect",
                hint="somebody may be in between; "
                f"if the host was reinstalled: ssh-keygen -R '{name}', then again",
            )
        return True
    return False


def trust(shown: Shown) -> None:
    """Add the key to the user's known_hosts."""
    shown.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = shown.file.read_bytes() if shown.file.exists() else b""
    start = "" if not before or before.endswith(b"\n") else "\n"
    # One write at the end of the file: other programs may add to it at the same time.
    descriptor = os.open(shown.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{start}{shown.line}".encode())
    finally:
        os.close(descriptor)
