"""Logging in with as few round trips as the protocol allows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from paramiko.transport import ServiceRequestingTransport

QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it; elsewhere a login may take that much longer."""


class Transport(ServiceRequestingTransport):
    """A connection that remembers which key let us in: `TYPE DATA`; empty where a certificate did.

    Keys are offered right behind the request for the service that takes them, and that is made once, not for
    each key. A server that does not grant it ends the connection (RFC 4253, section 10).
    """

    proven = ""

    def ensure_session(self) -> None:
        """Ask to log in, the first time; what follows need not wait for the answer."""
        if not self.is_active() or not self.initial_kex_done:
            raise paramiko.SSHException("No existing session")
        if self.auth_handler is None:
            self.auth_handler = self.get_auth_handler()
            request = paramiko.Message()
            request.add_byte(cMSG_SERVICE_REQUEST)
            request.add_string("ssh-userauth")
            _send(self, request)

    def get_auth_handler(self) -> AuthOnlyHandler:
        """For paramiko."""
        return Login(self)

    def auth_publickey(
        self, username: str, key: paramiko.PKey, event: threading.Event | None = None
    ) -> list[str]:
        """As paramiko's, which takes no `event` here either."""
        left: list[str] = super().auth_publickey(username, key)
        if self.is_authenticated() and key.public_blob is None and "-cert-" not in key.get_name():
            self.proven = f"{key.get_name()} {key.get_base64()}"
        return left


class Login(AuthOnlyHandler):
    """One attempt after the other, each without a request of its own for the service."""

    def send_auth_request(
        self,
        username: str,
        method: str,
        finish_message: Callable[[paramiko.Message], None] | None = None,
    ) -> list[str]:
        """As paramiko's (RFC 4252, section 5), but ready for the answer before it is asked for."""
        self.username, self.auth_method = username, method
        answered = self.auth_event = threading.Event()
        request = paramiko.Message()
        request.add_byte(cMSG_USERAUTH_REQUEST)
        for text in (username, "ssh-connection", method):
            request.add_string(text)
        if finish_message is not None:
            finish_message(request)
        with self.transport.lock:
            _send(self.transport, request)
        _acknowledge(self.transport.sock)
        return self.wait_for_response(answered)


def _acknowledge(sock: object) -> None:
    """Tell the host at once of what arrives from now on.

    It grants the service in a small message and holds back the answer to the key until it knows that this one
    has arrived (Nagle), which a system that waits for something to say along with it tells 40 ms late.
    """
    if isinstance(sock, socket.socket) and QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)


def _send(transport: Any, message: paramiko.Message) -> None:
    """Without waiting for keys that are exchanged anew: there are none before the login."""
    transport._send_message(message)
