"""One SSH connection to one host, and what travels over it: commands, scripts, streams, terminals."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

import paramiko
from paramiko.agent import AgentRequestHandler

from cloudinit.script import StepEvent
from deployer.connect import HANDSHAKE_TIMEOUT
from deployer.endpoint import Endpoint, Reached
from deployer.headstart import HeadStart
from deployer.link import Link
from deployer.login import Transport
from deployer.script import Script, ScriptResult, StreamParser
from deployer.shell import Shell
from deployer.stream import STALL, Lines, Pump, Stopped, exit_code, launch, send
from freehold.errors import ConnectError, HostError


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
        started: HeadStart | None = None,
    ) -> None:
        """`starts` is entered while a connection is made; one idle for `idle` seconds is not used again.

        `started` is where the first one may begin.
        """
        self.endpoint = endpoint
        self._link = Link(endpoint, starts or contextlib.nullcontext(), idle, started)
        self._agents: list[AgentRequestHandler] = []
        self._shells: list[Shell] = []
        self._ahead: threading.Thread | None = None
        self._left = False
        self._cancelled = cancelled or threading.Event()
        self.name = endpoint.name
        self.execs = 0
        self._debug = debug

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if self._ahead is not None:
            # Nobody waits for a host that has not been asked anything; what comes of it is closed then.
            self._ahead.join(0.2)
            if self._ahead.is_alive():
                return
        self.close()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        self._shells.clear()
        agents, self._agents = self._agents, []
        for agent in agents:
            agent.close()
        self._link.close()

    def connect(self) -> None:
        """Connect now; raise ConnectError or HostKeyError. A refused or silent host is tried again."""
        self._link.transport()

    def connect_ahead(self, *, question: bool = False) -> None:
        """Begin to connect, and make ready for a script; what fails is told to the next use.

        With `question` the first script is an open one. The second call does nothing.
        """
        if self._ahead is not None:
            return

        def work() -> None:
            # Whatever it is, the next use meets it, and tells it where somebody listens.
            with contextlib.suppress(Exception):
                self._link.transport(ahead=True)
                shell = self._new_shell()
                if not question:
                    shell.launch()
                self._shells.append(shell)
            if self._left:
                self.close()

        self._ahead = threading.Thread(target=work, daemon=True)
        self._ahead.start()

    def reached(self) -> Reached:
        """Where the connection leads, and the host key that was proven to belong there."""
        return self._link.reached()

    def proven_key(self) -> str:
        """The key that let us in, as `TYPE DATA`; empty where that was something else."""
        transport = self._link.transport()
        return transport.proven if isinstance(transport, Transport) else ""

    def exec(self, command: str, *, stdin: bytes | None = None, timeout: float | None = None) -> Output:
        """Run one command; `stdin` is sent, then closed."""
        with self._channel(command) as channel:
            sender = send(channel, iter([stdin] if stdin else []))
            out, err = bytearray(), bytearray()
            self._pump(channel).run(out.extend, err.extend, timeout=timeout)
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
                sender = send(channel, counted())
                self._pump(channel).run(
                    output.extend, output.extend, stalled=lambda: time.monotonic() - moved > STALL
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
        parser = StreamParser(self.name, on_event, on_line)
        shell = self._shell()
        try:
            with self._told():
                status = shell.run(script, parser, timeout)
        except BaseException:
            shell.close()
            raise
        if shell.ready:
            self._shells.append(shell)
        return parser.finish(status)

    def run_text(
        self,
        text: str,
        *,
        timeout: float,
        command: str,
        on_event: Callable[[StepEvent], None] | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> ScriptResult:
        """Feed a script that marks its steps to `command`."""
        parser = StreamParser(self.name, on_event, on_line)
        lines = Lines(parser.feed)
        with self._channel(command) as channel:
            sender = send(channel, iter([text.encode()]))
            self._pump(channel).run(lines.feed, lines.feed, timeout=timeout)
            sender.join(5)
            lines.flush()
            return parser.finish(channel.recv_exit_status())

    def follow(
        self, command: str, on_line: Callable[[str], None], stop: threading.Event, *, leash: bool = False
    ) -> int:
        """Hand on each line of a command that goes on for ever, until `stop` or its end; its exit code.

        With `leash` its standard input stays open for as long as somebody reads.
        """
        lines = Lines(on_line)
        with self._channel(command) as channel:
            if not leash:
                channel.shutdown_write()
            self._pump(channel).run(lines.feed, lines.feed, enough=stop.is_set)
            lines.flush()
            return -1 if stop.is_set() else exit_code(channel)

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
        try:
            with self._told():
                launch(channel, command)
                yield channel
        finally:
            channel.close()

    def _shell(self) -> Shell:
        """One that is ready, or a new one."""
        if self._cancelled.is_set():
            raise Stopped("stopped", host=self.name)
        if self._ahead is not None:
            self._ahead.join()
        self._link.transport()
        while self._shells:
            with contextlib.suppress(IndexError):
                shell = self._shells.pop()
                if shell.ready:
                    return shell
        return self._new_shell()

    def _new_shell(self) -> Shell:
        channel = self._session()
        return Shell(channel, self._pump(channel))

    def _pump(self, channel: paramiko.Channel) -> Pump:
        return Pump(channel, self.name, self._cancelled)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """While something is under way: a broken connection is a HostError."""
        self._link.busy += 1
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as exc:
            raise HostError(
                f"the connection was lost ({exc or type(exc).__name__})",
                host=self.name,
                hint="check the network, then run again; a half-done deploy converges",
            ) from exc
        finally:
            self._link.busy -= 1

    def _session(self) -> paramiko.Channel:
        if self._cancelled.is_set():
            raise Stopped("stopped", host=self.name)
        transport = self._link.transport()
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


def _text(data: bytearray) -> str:
    return data.decode(errors="replace")
