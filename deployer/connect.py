"""Opening SSH connections with Fabric, host keys checked.

Host keys must be known: from ~/.ssh/known_hosts, the system's file, or what the endpoint names. An
unknown or changed key ends the connection with its fingerprint and the way to accept it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
import shlex
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection

from deployer.endpoint import CONNECT_TIMEOUT, Endpoint
from deployer.headstart import HeadStart
from deployer.login import Transport
from deployer.sshkeys import KINDS, Keys
from freehold.errors import ConfigError, ConnectError, HostKeyError
from freehold.secret import Secret

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
            hint=f"compare this fingerprint with the host's own, then accept it with "
            f"`freehold server trust {self.endpoint.name}` (or: {scan} >> ~/.ssh/known_hosts)",
        )


def open_connection(end: Endpoint, started: HeadStart | None = None) -> Connection:
    """Connect; raise ConnectError or HostKeyError. `started` is used where it leads to the right place.

    A refused connection is tried again, and so is a name that was not found; nothing else ever is.
    """
    attempt = lookups = 0
    while True:
        connection = build(end)
        try:
            if started is not None and connection.gateway is not None:
                started.close()
            elif started is not None:
                sock = started.take(str(connection.host), int(connection.port or 22))
                connection.connect_kwargs |= {"sock": sock} if sock else {}
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
            locked = getattr(exc, "locked", ())
            add = shlex.join(["ssh-add", *map(str, locked)])
            raise ConnectError(
                f"it lets nobody in as {connection.user!r} with the keys at hand ({exc})",
                host=end.name,
                step="connect",
                hint=f"load the key into the agent: {add}"
                if locked
                else "set `ssh.user` and `ssh.keys`, or load the key into the agent (ssh-add)",
            ) from exc
        except (OSError, paramiko.SSHException, EOFError) as exc:
            if isinstance(exc, socket.gaierror) and lookups < end.dns_retries:
                lookups += 1
                time.sleep(0.1 * 2**lookups)
                continue
            attempt += 1
            # A second try is for a host that says no for a moment, not for one that says nothing.
            if attempt == CONNECT_TRIES or isinstance(exc, socket.gaierror | TimeoutError):
                raise ConnectError(
                    f"no SSH connection to {connection.host}:{connection.port}: {reason(exc)}",
                    host=end.name,
                    step="connect",
                    hint="check that the host is up, its name resolves, and its firewall admits SSH",
                ) from exc
            time.sleep(0.5 * attempt)


def private_key(data: Secret) -> paramiko.PKey:
    """A private key out of its PEM text; ConfigError where it is none."""
    for kind in KINDS:
        with contextlib.suppress(paramiko.SSHException, ValueError, IndexError):
            # What a template or a dotenv file made of it may lack its last line end.
            return kind.from_private_key(io.StringIO(data.reveal().strip() + "\n"))
    raise ConfigError(
        "a key of ssh.key_data is no private key in PEM form, or is protected by a passphrase",
        hint="it begins with -----BEGIN; keys with a passphrase belong into the agent (ssh-add)",
    )


def log_protocol(level: str, sink: Callable[[str], None]) -> None:
    """Let the SSH protocol's own messages of a level (`ssh.log_level`) and above be heard."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sink(f"ssh: {record.getMessage()}")

    logger = logging.getLogger("paramiko")
    logger.handlers = [Handler()]
    logger.propagate = False
    logger.setLevel({"warn": "WARNING", "fatal": "CRITICAL"}.get(level, level.upper()))


def build(end: Endpoint) -> Connection:
    """A connection that is not open yet, host keys checked at every hop."""
    given = [private_key(data) for data in end.key_data]
    config = Config() if end.config_files is None else Config(ssh_config=_ssh_config(end.config_files))
    # A ProxyCommand is told of the port and user that count, which this file alone does not know.
    config.base_ssh_config.TOKENS_BY_CONFIG_KEY = {
        key: tokens
        for key, tokens in paramiko.SSHConfig.TOKENS_BY_CONFIG_KEY.items()
        if key != "proxycommand"
    }
    arguments: dict[str, Any] = {
        "banner_timeout": HANDSHAKE_TIMEOUT,
        "auth_timeout": HANDSHAKE_TIMEOUT,
        "transport_factory": _transport,
    }
    if end.keys:
        arguments["key_filename"] = list(end.keys)
    jump = _jump(end.jump, config, arguments) if end.jump else None
    connection = Connection(
        end.address,
        user=end.user,
        port=end.port,
        config=config,
        gateway=end.proxy_command or jump,
        connect_timeout=_connect_timeout(config, end.address),
        connect_kwargs=arguments,
    )
    hop: Any = connection
    while isinstance(hop, Connection):
        # A jump host of ~/.ssh/config is reached as that says, without the keys of this file.
        ours = hop is connection or hop is jump
        only = (ours and end.keys_only) or hop.ssh_config.get("identitiesonly") == "yes"
        more = dict(hop.connect_kwargs)
        among = end.among if hop is connection else None
        keys = Keys(hop.user, given if ours else (), more.pop("key_filename", ()), only=only, among=among)
        hop.connect_kwargs = {**more, "auth_strategy": keys}
        if isinstance(hop.gateway, str):
            command = proxy_command(hop.gateway, hop.host, hop.port, hop.user)
            hop.open_gateway = functools.partial(paramiko.ProxyCommand, shlex.join(("sh", "-c", command)))
        # Fabric accepts any unknown key; a jump host deserves the same care as the host behind it.
        hop.client.set_missing_host_key_policy(_Strict(end))
        for path in known_hosts(end, hop.ssh_config):
            with contextlib.suppress(OSError):
                hop.client.load_system_host_keys(str(path))
        hop = hop.gateway
    return connection


def holds(end: Endpoint) -> bool:
    """Whether there is a key at hand that a connection would offer; no host is asked."""
    keys: Keys = build(end).connect_kwargs["auth_strategy"]
    return keys.any()


def proxy_command(text: str, host: str, port: int, user: str) -> str:
    """A ProxyCommand for one host: `%h`, `%p`, `%r` and `%%` mean what they mean to OpenSSH."""
    words = {"%h": host, "%p": str(port), "%r": user, "%%": "%"}
    return re.sub("%[hpr%]", lambda found: words[found[0]], text)


def _transport(sock: Any, **more: Any) -> paramiko.Transport:
    """Small messages leave at once, as OpenSSH has it; else one waits for the answer to another (40 ms)."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(sock, **more)


def _jump(name: str, config: Config, arguments: dict[str, Any]) -> Connection:
    """The jump host, with the same keys; as root where neither its name nor ~/.ssh/config says who."""
    patience = _connect_timeout(config, name.rpartition("@")[2].partition(":")[0])
    hop = Connection(name, config=config, connect_timeout=patience, connect_kwargs=dict(arguments))
    if "@" in name or "user" in hop.ssh_config:
        return hop
    return Connection(f"root@{name}", config=config, connect_timeout=patience, connect_kwargs=dict(arguments))


def _connect_timeout(config: Config, host: str) -> int:
    """Seconds that a connect may take: `ConnectTimeout` of ~/.ssh/config where it is a number."""
    said = str(config.base_ssh_config.lookup(host).get("connecttimeout", ""))
    return int(said) if said.isdigit() and int(said) > 0 else CONNECT_TIMEOUT


def known_hosts(end: Endpoint, ssh_config: dict[str, Any]) -> list[Path]:
    """The files whose word on host keys counts, the user's own first."""
    if end.only_known:
        return list(end.known_hosts)
    named = str(ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")).split()
    return [
        *end.known_hosts,
        *(Path(name).expanduser() for name in named),
        Path("/etc/ssh/ssh_known_hosts"),
    ]


def reason(exc: BaseException) -> str:
    """Why no connection came about, in a few words."""
    if isinstance(exc, paramiko.ssh_exception.NoValidConnectionsError):
        return "; ".join(sorted({reason(inner) for inner in exc.errors.values()}))
    if isinstance(exc, socket.gaierror):
        # Its numbers are getaddrinfo's own, which strerror does not know.
        unknown = exc.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        return "nobody knows this name" if unknown else str(exc.strerror)
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
