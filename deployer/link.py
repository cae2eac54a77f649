"""The connection to one host: made on first use, watched, made again when it has been idle for too long."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping

import paramiko
from fabric import Connection

from deployer.connect import open_connection
from deployer.endpoint import Endpoint, Reached
from deployer.headstart import HeadStart
from freehold.errors import ConnectError

KEEPALIVE = 5
SILENCE = 20
"""Seconds without a word from a host after which its connection counts as lost."""
TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
"""Linux has it; elsewhere a host that vanishes is noticed later."""


class Link:
    """One connection at a time; may be used by several threads.

    `starts` is entered while a connection is made; one idle for `idle` seconds is not used again.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        starts: contextlib.AbstractContextManager[object],
        idle: float,
        started: HeadStart | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._started = started
        self.busy = 0
        """How many commands are under way; a connection with one is not idle."""
        self._starts = starts
        self._idle = idle
        self._used = 0.0
        self._refused: ConnectError | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def transport(self, *, ahead: bool = False) -> paramiko.Transport:
        """The connection that is there, or a new one. ConnectError, HostKeyError, ConfigError.

        What fails `ahead` of need is raised once more by the next call, which does not try again.
        """
        with self._lock:
            if self._refused is not None:
                refused, self._refused = self._refused, None
                raise refused
            connection = self._connection
            now, before = time.monotonic(), self._used
            self._used = now
            if connection is not None and connection.is_connected:
                kept: paramiko.Transport = connection.transport
                if self.busy or not self._idle or now - before < self._idle:
                    return kept
                with contextlib.suppress(Exception):
                    connection.close()
            try:
                with self._starts:
                    self._connection = open_connection(self.endpoint, self._started)
            except ConnectError as exc:
                self._refused = exc if ahead else None
                raise
            self._used = time.monotonic()
            return _watched(self._connection)

    def reached(self) -> Reached:
        """Where the connection leads, and the host key that was proven to belong there."""
        key = self.transport().get_remote_server_key()
        connection = self._connection
        assert connection is not None
        name = f"{key.get_name()} {key.get_base64()}"
        return Reached(str(connection.host), int(connection.port or 22), str(connection.user), name)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
        if self._started is not None:
            self._started.close()
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


def patience(ssh_config: Mapping[str, str]) -> tuple[int, int]:
    """Seconds between signs of life, and of silence after which a host counts as lost.

    `ServerAliveInterval` and `ServerAliveCountMax` of ~/.ssh/config, where they are given; OpenSSH's own
    default, never to ask, would have a deploy wait for a host that has gone.
    """
    interval, count = (
        int(value) if (value := ssh_config.get(name, "")).isdigit() else 0
        for name in ("serveraliveinterval", "serveralivecountmax")
    )
    return (interval, interval * (count or 3)) if interval else (KEEPALIVE, SILENCE)


def _watched(connection: Connection) -> paramiko.Transport:
    """A host that vanishes says no word; its silence would be noticed after a quarter of an hour."""
    transport: paramiko.Transport = connection.transport
    interval, silence = patience(connection.ssh_config)
    transport.set_keepalive(interval)
    if isinstance(transport.sock, socket.socket) and TCP_USER_TIMEOUT is not None:
        transport.sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, silence * 1000)
    return transport
