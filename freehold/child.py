"""A process that was started: reading its streams, feeding it, ending it with all that it started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import IO

from freehold.errors import ProcessTimeout

GRACE = 5.0


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Put off what SIGINT and SIGTERM raise in Python until the end of the block.

    A KeyboardInterrupt between a fork and the instant in which Popen notes the child's number would
    lose a child that runs. Blocking the signals would not do: a child inherits the mask. Python runs
    handlers in the main thread alone, so elsewhere there is nothing to hold.
    """
    held: list[tuple[int, FrameType | None]] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = ((sign, signal.getsignal(sign)) for sign in (signal.SIGINT, signal.SIGTERM))
        # An ignored signal stays ignored, for the child too; a default one ends us without Python.
        before = {sign: handler for sign, handler in handlers if callable(handler)}
    try:
        for sign in before:
            signal.signal(sign, lambda number, frame: held.append((number, frame)))
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    for number, frame in held:
        before[signal.Signals(number)](number, frame)


class LocalProcess:
    """A background process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], argv: tuple[str, ...]) -> None:
        self._process = process
        self.argv = argv

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; ProcessTimeout after `timeout` seconds (the process goes on)."""
        try:
            return wait_for(self._process, timeout)
        except subprocess.TimeoutExpired as exc:
            raise ProcessTimeout(f"{self.argv[0]} still runs after {timeout:g} s", argv=self.argv) from exc

    def stop(self, grace: float = GRACE) -> int:
        """SIGTERM to the whole group, SIGKILL after `grace` seconds; returns the exit code."""
        end(self._process, grace)
        return self._process.returncode

    def __enter__(self) -> LocalProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Collector:
    """Reads one stream to its end, keeps it, and hands each line on as it comes."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._parts: list[bytes] = []
        self.failure: BaseException | None = None

    def drain(self, stream: IO[bytes]) -> None:
        try:
            for raw in stream:
                self._parts.append(raw)
                if self._on_line is not None and self.failure is None:
                    try:
                        self._on_line(raw.decode(errors="replace").rstrip("\r\n"))
                    except BaseException as exc:
                        # Raised again in the caller's thread; the pipe is still emptied here.
                        self.failure = exc
        except ValueError:
            return

    def text(self) -> str:
        return b"".join(self._parts).decode(errors="replace")


def feed(stream: IO[bytes] | None, data: bytes) -> None:
    if stream is None:
        return
    try:
        stream.write(data)
        stream.close()
    except (BrokenPipeError, ConnectionResetError):
        # The child ended without reading everything; its exit code tells the story.
        pass


def wait_for(process: subprocess.Popen[bytes], timeout: float | None) -> int:
    """As `Popen.wait`, which with a timeout looks every 50 ms only: short programs seemed twice as long."""
    if timeout is not None and hasattr(os, "pidfd_open") and process.returncode is None:
        with contextlib.suppress(OSError):
            # OSError: the kernel has none, or the child was waited for elsewhere.
            descriptor = os.pidfd_open(process.pid)
            try:
                ended = select.poll()
                ended.register(descriptor, select.POLLIN)
                ready = ended.poll(timeout * 1000)
            finally:
                os.close(descriptor)
            return process.wait(None if ready else 0)
    return process.wait(timeout)


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    if process.poll() is not None:
        return
    for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, sign)
        except (ProcessLookupError, PermissionError):
            process.send_signal(sign)
        try:
            wait_for(process, patience)
            return
        except subprocess.TimeoutExpired:
            continue


def ending(returncode: int) -> str:
    if returncode < 0:
        try:
            return f"was ended by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"was ended by signal {-returncode}"
    return f"failed with exit code {returncode}"
