"""What goes into a remote command and what comes out of it, while somebody may want it to stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from freehold.errors import DeadlineError, HostError

STALL = 900.0
"""Seconds after which a stream that a host does not take, or does not answer, is given up."""
CHUNK = 65536


class Stopped(HostError):
    """The work on this host was ended because it had become pointless, not because it failed."""


@dataclass(frozen=True)
class Pump:
    """Reads a channel of `host` until its command has ended, or `cancelled` is set."""

    channel: paramiko.Channel
    host: str
    cancelled: threading.Event

    def run(
        self,
        out: Callable[[bytes], Any],
        err: Callable[[bytes], Any],
        *,
        timeout: float | None = None,
        enough: Callable[[], bool] = lambda: False,
        stalled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read both streams until the command has ended or `enough()` says so.

        Stopped, DeadlineError after `timeout` seconds, EOFError where the connection broke.
        """
        channel = self.channel
        deadline = None if timeout is None else time.monotonic() + timeout
        channel.settimeout(0.2)
        while True:
            quiet = True
            if channel.recv_stderr_ready():
                err(channel.recv_stderr(CHUNK))
                quiet = False
            try:
                data = channel.recv(CHUNK)
            except TimeoutError:
                data = None
            if data:
                out(data)
            if data == b"":
                # The end of standard output may come before the rest of standard error.
                while rest := channel.recv_stderr(CHUNK):
                    err(rest)
                self._await_status(deadline)
                return
            if enough():
                return
            if self.cancelled.is_set():
                raise Stopped("stopped", host=self.host)
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineError(
                    f"{self.host}: no end after {timeout:g} s",
                    hint="the host may be overloaded; raise `deploy_timeout` or look at the host",
                )
            if stalled():
                raise DeadlineError(
                    f"{self.host}: nothing was taken for {STALL:g} s",
                    hint="the host may be overloaded or out of disk; look at it, then run again",
                )
            if quiet and data is None and not _alive(channel):
                raise EOFError("connection closed")

    def _await_status(self, deadline: float | None) -> None:
        patience = 30.0 if deadline is None else max(1.0, deadline - time.monotonic())
        if not self.channel.status_event.wait(patience):
            raise EOFError("the command's streams ended without an exit status")


class Lines:
    """Bytes in, whole lines out."""

    def __init__(self, sink: Callable[[str], None]) -> None:
        self._sink = sink
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Some bytes, as they came."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._sink(line.decode(errors="replace").rstrip("\r"))

    def flush(self) -> None:
        """What came last, though its line did not end."""
        if self._rest:
            self._sink(self._rest.decode(errors="replace"))
            self._rest = b""


def launch(channel: Any, command: str) -> None:
    """Ask for a command without waiting for it to have begun: what it is to read may follow at once.

    A host that refuses it ends the channel; the command then has no exit code.
    """
    request = paramiko.Message()
    request.add_byte(cMSG_CHANNEL_REQUEST)
    request.add_int(channel.remote_chanid)
    request.add_string("exec")
    # It is answered all the same: paramiko closes what was refused.
    request.add_boolean(True)
    request.add_string(command)
    channel.transport._send_user_message(request)


def send(channel: paramiko.Channel, chunks: Iterator[bytes], *, more: bool = False) -> threading.Thread:
    """Feed standard input from a thread of its own, so that a full window never stops the reading.

    It is closed at the end, unless `more` is to come.
    """

    def work() -> None:
        # A command that ends without reading everything says why by its exit status.
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            for data in chunks:
                rest = memoryview(data)
                while rest:
                    try:
                        rest = rest[channel.send(bytes(rest)) :]
                    except TimeoutError:
                        # The reader's time-out counts for writing too: the window is full, no more.
                        if channel.closed:
                            return
            if not more:
                channel.shutdown_write()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def exit_code(channel: paramiko.Channel) -> int:
    """The exit code of a command that has ended; EOFError where none came."""
    code = channel.recv_exit_status()
    if code == -1:
        raise EOFError("no exit code came: it broke, or the command was killed")
    return code


def _alive(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    return transport is not None and transport.is_active()
