"""Opening SSH connections with Fabric, host keys checked.

Host keys must be known: from ~/.ssh/known_hosts, the system's file, or what the endpoint names. An
unknown or changed key ends the connection with its fingerprint and the way to accept it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import time
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection

from deployer.endpoint import Endpoint
from freehold.errors import ConnectError, HostKeyError

CONNECT_TIMEOUT = 15
HANDSHAKE_TIMEOUT = 30
CONNECT_TRIES = 3


class _Strict(paramiko.MissingHostKeyPolicy):
    """Refuses a host whose key nobody has vouched for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        host, _, port = hostname.strip("[]").partition("]:")
        scan = shlex.join(["ssh-keyscan", *(["-p", port] if port else []), host])
        raise HostKeyError(
            f"its host key is not known ({key.get_name()} {key.fingerprint})",
            host=self.endpoint.name,
            step="connect",
            hint=f"compare this fingerprint with the host's own, then: {scan} >> ~/.ssh/known_hosts",
        )


def open_connection(end: Endpoint) -> Connection:
    """Connect; raise ConnectError or HostKeyError. A refused connection is tried again."""
    for attempt in range(1, CONNECT_TRIES + 1):
        connection = _build(end)
        try:
            connection.open()
            return connection
        except HostKeyError:
            raise
        except paramiko.BadHostKeyException as exc:
            raise HostKeyError(
                "its host key is not the known one: "
                f"it shows {exc.key.get_name()} {exc.key.fingerprint}, "
                f"known is {exc.expected_key.get_name()} {exc.expected_key.fingerprint}",
                host=end.name,
                step="connect",
                hint="somebody may be in between; if the host was reinstalled: "
                f"ssh-keygen -R {shlex.quote(end.address)}",
            ) from exc
        except paramiko.AuthenticationException as exc:
            raise ConnectError(
                f"it lets nobody in as {connection.user!r} with the keys at hand ({exc})",
                host=end.name,
                step="connect",
                hint="set `ssh.user` and `ssh.keys`, or load the key into the agent (ssh-add)",
            ) from exc
        except (OSError, paramiko.SSHException, EOFError) as exc:
            # A second try is for a host that says no for a moment, not for one that says nothing.
            if attempt == CONNECT_TRIES or isinstance(exc, socket.gaierror | TimeoutError):
                raise ConnectError(
                    f"no SSH connection to {connection.host}:{connection.port}: {_reason(exc)}",
                    host=end.name,
                    step="connect",
                    hint="check that the host is up, its name resolves, and its firewall admits SSH",
                ) from exc
            time.sleep(0.5 * attempt)
    raise AssertionError("unreachable")


def _build(end: Endpoint) -> Connection:
    config = Config() if end.config_files is None else Config(ssh_config=_ssh_config(end.config_files))
    arguments: dict[str, Any] = {
        "banner_timeout": HANDSHAKE_TIMEOUT,
        "auth_timeout": HANDSHAKE_TIMEOUT,
        "look_for_keys": not end.keys_only,
        "allow_agent": not end.keys_only,
    }
    if end.keys:
        arguments["key_filename"] = [str(Path(key).expanduser()) for key in end.keys]
    connection = Connection(
        end.address,
        user=end.user,
        port=end.port,
        config=config,
        gateway=end.proxy_command or (Connection(end.jump, config=config) if end.jump else None),
        connect_timeout=CONNECT_TIMEOUT,
        connect_kwargs=arguments,
    )
    hop: Any = connection
    while isinstance(hop, Connection):
        # Fabric accepts any unknown key; a jump host deserves the same care as the host behind it.
        hop.client.set_missing_host_key_policy(_Strict(end))
        for path in _known_hosts(end, hop.ssh_config):
            with contextlib.suppress(OSError):
                hop.client.load_system_host_keys(str(path))
        hop = hop.gateway
    return connection


def _known_hosts(end: Endpoint, ssh_config: dict[str, Any]) -> list[Path]:
    if end.only_known:
        return list(end.known_hosts)
    named = str(ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")).split()
    return [
        *end.known_hosts,
        *(Path(name).expanduser() for name in named),
        Path("/etc/ssh/ssh_known_hosts"),
    ]


def _reason(exc: BaseException) -> str:
    if isinstance(exc, paramiko.ssh_exception.NoValidConnectionsError):
        return "; ".join(sorted({_reason(inner) for inner in exc.errors.values()}))
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return str(exc) or type(exc).__name__


def _ssh_config(files: tuple[str, ...]) -> paramiko.SSHConfig:
    merged = paramiko.SSHConfig()
    for name in files:
        with contextlib.suppress(FileNotFoundError), Path(name).expanduser().open() as stream:
            merged.parse(stream)
    return merged
