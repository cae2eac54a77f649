"""One SSH connection to one host, and what travels over it: commands, scripts, streams, terminals."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import paramiko
from fabric import Connection
from paramiko.agent import AgentRequestHandler

from cloudinit.script import StepEvent
from deployer.connect import HANDSHAKE_TIMEOUT, open_connection
from deployer.endpoint import Endpoint
from deployer.script import Script, ScriptResult, StreamParser
from freehold.errors import ConnectError, DeadlineError, HostError

KEEPALIVE = 5
SILENCE = 20
"""Seconds without a word from a host after which its connection counts as lost."""
STALL = 900.0
"""Seconds after which a stream that a host does not take, or does not answer, is given up."""
TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
"""Linux has it; elsewhere a host that vanishes is noticed later."""
CHUNK = 65536


class Stopped(HostError):
    """The work on this host was ended because it had become pointless, not because it failed."""


@dataclass(frozen=True)
class Output:
    """A remote command that ended; a `returncode` of -1 means that the connection was lost."""

    returncode: int
    stdout: str
    stderr: str


class Remote:
    """A host over SSH. Connects on first use; may be used by several threads, one channel each."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        debug: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
        starts: contextlib.AbstractContextManager[object] | None = None,
        idle: float = 0,
    ) -> None:
        """`starts` is entered while a connection is made; one idle for `idle` seconds is not used again."""
        self.endpoint = endpoint
        self._starts = starts or contextlib.nullcontext()
        self._idle = idle
        self._used = 0.0
        self._open = 0
        self._agents: list[AgentRequestHandler] = []
        self._cancelled = cancelled or threading.Event()
        self.name = endpoint.name
        self.execs = 0
        self._debug = debug
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            agents, self._agents = self._agents, []
        for agent in agents:
            agent.close()
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def connect(self) -> None:
        """Connect now; raise ConnectError or HostKeyError. A refused or silent host is tried again."""
        self._transport()

    def exec(self, command: str, *, stdin: bytes | None = None, timeout: float | None = None) -> Output:
        """Run one command; `stdin` is sent, then closed."""
        with self._channel(command) as channel:
            sender = _send(channel, iter([stdin] if stdin else []))
            out, err = bytearray(), bytearray()
            self._pump(channel, out.extend, err.extend, timeout)
            sender.join(5)
            return Output(channel.recv_exit_status(), _text(out), _text(err))

    def feed(self, command: str, chunks: Iterable[bytes]) -> tuple[int, str]:
        """Run one command with `chunks` as its standard input; its exit code and both its streams.

        ConnectError when the connection cannot be made or breaks.
        """
        output = bytearray()
        moved = time.monotonic()

        def counted() -> Iterator[bytes]:
            nonlocal moved
            for chunk in chunks:
                moved = time.monotonic()
                yield chunk
            moved = time.monotonic()

        try:
            with self._channel(command) as channel:
                sender = _send(channel, counted())
                self._pump(
                    channel,
                    output.extend,
                    output.extend,
                    None,
                    stalled=lambda: time.monotonic() - moved > STALL,
                )
                sender.join(5)
                status = channel.recv_exit_status()
        except ConnectError:
            raise
        except HostError as exc:
            self.close()
            raise ConnectError("the connection was lost", host=self.name, hint=exc.hint) from exc
        if status == -1:
            self.close()
            raise ConnectError("the connection was lost", host=self.name, hint="run again; it resumes")
        return status, _text(output)

    def run(
        self,
        script: Script,
        *,
        timeout: float,
        on_event: Callable[[StepEvent], None] | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> ScriptResult:
        """Run a script's steps in one exec. A failed step is in the result, not an exception."""
        if self._debug is not None:
            self._debug(f"{self.name}: {' → '.join(step.name for step in script.steps)}")
        return self.run_text(script.render(), timeout=timeout, on_event=on_event, on_line=on_line)

    def run_text(
        self,
        text: str,
        *,
        timeout: float,
        command: str = "bash -s",
        on_event: Callable[[StepEvent], None] | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> ScriptResult:
        """Feed a script that marks its steps to `command`."""
        parser = StreamParser(self.name, on_event, on_line)
        lines = _Lines(parser.feed)
        with self._channel(command) as channel:
            sender = _send(channel, iter([text.encode()]))
            self._pump(channel, lines.feed, lines.feed, timeout)
            sender.join(5)
            lines.flush()
            return parser.finish(channel.recv_exit_status())

    def follow(
        self, command: str, on_line: Callable[[str], None], stop: threading.Event, *, leash: bool = False
    ) -> int:
        """Hand on each line of a command that goes on for ever, until `stop` or its end.

        With `leash` its standard input stays open for as long as somebody reads.
        """
        lines = _Lines(on_line)
        with self._channel(command) as channel:
            if not leash:
                channel.shutdown_write()
            self._pump(channel, lines.feed, lines.feed, None, stop)
            lines.flush()
            return -1 if stop.is_set() else channel.recv_exit_status()

    def open_channel(self, command: str) -> contextlib.AbstractContextManager[paramiko.Channel]:
        """A raw channel, for a held lock or a terminal."""
        return self._channel(command)

    def open_terminal(self, command: str, term: str, width: int, height: int) -> paramiko.Channel:
        """A channel with a terminal of its own; the caller closes it."""
        channel = self._session()
        channel.get_pty(term, width, height)
        channel.exec_command(command)
        return channel

    # -- inside --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _channel(self, command: str) -> Iterator[paramiko.Channel]:
        channel = self._session()
        self._open += 1
        try:
            channel.exec_command(command)
            yield channel
        except (paramiko.SSHException, EOFError, OSError) as exc:
            raise HostError(
                f"the connection was lost ({exc or type(exc).__name__})",
                host=self.name,
                hint="check the network, then run again; a half-done deploy converges",
            ) from exc
        finally:
            self._open -= 1
            channel.close()

    def _session(self) -> paramiko.Channel:
        if self._cancelled.is_set():
            raise Stopped("stopped", host=self.name)
        transport = self._transport()
        self.execs += 1
        try:
            channel = transport.open_session(timeout=HANDSHAKE_TIMEOUT)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            self.close()
            raise ConnectError(
                f"the connection was lost ({exc})", host=self.name, hint="check the network, then run again"
            ) from exc
        if self.endpoint.forward_agent:
            self._agents.append(AgentRequestHandler(channel))
        return channel

    def _pump(
        self,
        channel: paramiko.Channel,
        out: Callable[[bytes], Any],
        err: Callable[[bytes], Any],
        timeout: float | None,
        stop: threading.Event | None = None,
        stalled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read both streams until the command has ended."""
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
                continue
            if data == b"":
                # The end of standard output may come before the rest of standard error.
                while rest := channel.recv_stderr(CHUNK):
                    err(rest)
                self._check_exit(channel, deadline)
                return
            if stop is not None and stop.is_set():
                return
            if self._cancelled.is_set():
                raise Stopped("stopped", host=self.name)
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineError(
                    f"{self.name}: no end after {timeout:g} s",
                    hint="the host may be overloaded; raise `deploy_timeout` or look at the host",
                )
            if stalled():
                raise DeadlineError(
                    f"{self.name}: nothing was taken for {STALL:g} s",
                    hint="the host may be overloaded or out of disk; look at it, then run again",
                )
            if quiet and data is None and not _alive(channel):
                raise EOFError("connection closed")

    def _check_exit(self, channel: paramiko.Channel, deadline: float | None) -> None:
        patience = 30.0 if deadline is None else max(1.0, deadline - time.monotonic())
        if not channel.status_event.wait(patience):
            raise EOFError("the command's streams ended without an exit status")

    def _transport(self) -> paramiko.Transport:
        with self._lock:
            connection = self._connection
            now, before = time.monotonic(), self._used
            self._used = now
            if connection is not None and connection.is_connected:
                kept: paramiko.Transport = connection.transport
                if self._open or not self._idle or now - before < self._idle:
                    return kept
                with contextlib.suppress(Exception):
                    connection.close()
            with self._starts:
                self._connection = open_connection(self.endpoint)
            self._used = time.monotonic()
            transport: paramiko.Transport = self._connection.transport
            transport.set_keepalive(KEEPALIVE)
            # A host that vanishes says no word; its silence would be noticed after a quarter of an hour.
            if isinstance(transport.sock, socket.socket) and TCP_USER_TIMEOUT is not None:
                transport.sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, SILENCE * 1000)
            return transport


class _Lines:
    """Bytes in, whole lines out."""

    def __init__(self, sink: Callable[[str], None]) -> None:
        self._sink = sink
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._sink(line.decode(errors="replace").rstrip("\r"))

    def flush(self) -> None:
        if self._rest:
            self._sink(self._rest.decode(errors="replace"))
            self._rest = b""


def _send(channel: paramiko.Channel, chunks: Iterator[bytes]) -> threading.Thread:
    """Feed standard input from a thread of its own, so that a full window never stops the reading."""

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
            channel.shutdown_write()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _alive(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    return transport is not None and transport.is_active()


def _text(data: bytearray) -> str:
    return data.decode(errors="replace")
