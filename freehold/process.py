"""The one door for local processes.

argv lists only, never a shell; a clean environment; standard input closed unless asked for; output
streamed line by line; a deadline; and the whole process group ended when the deadline passes or
Ctrl-C arrives, so that nothing is left running behind.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from freehold.child import GRACE, Collector, LocalProcess, end, ending, feed, interrupts_held, wait_for
from freehold.environment import clean_environment
from freehold.errors import ProcessError, ProcessTimeout, ProgramMissing
from freehold.secret import Secret

Argument = str | Path | Secret


@dataclass(frozen=True)
class Completed:
    """A process that ended: output as UTF-8 text (undecodable bytes replaced), duration in seconds."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


class Started(Protocol):
    """A process that goes on in the background; leaving the `with` block stops it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def stop(self, grace: float = GRACE) -> int: ...
    def __enter__(self) -> Started: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Runner(Protocol):
    """Something that runs local processes. Effects receive one; they never make one."""

    def run(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | str | BinaryIO | None = None,
        timeout: float | None = None,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
        stdout_to: BinaryIO | None = None,
        foreground: bool = False,
    ) -> Completed: ...

    def start(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | None = None,
        stdout: Path | None = None,
        detach: bool = False,
    ) -> Started: ...


def paste(argv: Sequence[Argument], env: Mapping[str, str | Secret] | None = None) -> str:
    """The command as a line that can be pasted into a shell; secrets stay redacted."""
    words = [f"{name}={shlex.quote(str(value))}" for name, value in (env or {}).items()]
    return " ".join([*words, *(shlex.quote(str(word)) for word in argv)])


class LocalRunner:
    """Runs processes on this machine. `debug` receives each command as a line that can be pasted."""

    def __init__(self, *, debug: Callable[[str], None] | None = None) -> None:
        self._debug = debug

    def run(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | str | BinaryIO | None = None,
        timeout: float | None = None,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
        stdout_to: BinaryIO | None = None,
        foreground: bool = False,
    ) -> Completed:
        """Run to the end; `timeout` in seconds.

        `foreground` leaves the child in the terminal's foreground, for programs that ask for a
        password on the terminal (a child in a group of its own would be stopped when it reads there).

        `on_line` sees each line of both streams as it comes. `stdout_to` takes standard output as
        bytes instead of keeping it. Raises ProgramMissing, ProcessTimeout, and with `check`
        ProcessError with the last lines it printed.
        """
        words = _reveal(argv)
        shown = tuple(str(word) for word in argv)
        data = stdin.encode() if isinstance(stdin, str) else stdin if isinstance(stdin, bytes) else None
        source: int | BinaryIO = subprocess.DEVNULL
        if data is not None:
            source = subprocess.PIPE
        elif stdin is not None and not isinstance(stdin, bytes | str):
            source = stdin
        started = time.monotonic()
        out, err = Collector(on_line), Collector(on_line)
        threads: list[threading.Thread] = []
        expired = False
        process: subprocess.Popen[bytes] | None = None
        # Ctrl-C may come between any two of these words: from here on the child is ended.
        try:
            process = self._popen(
                argv,
                words,
                cwd,
                env,
                stdin=source,
                stdout=stdout_to if stdout_to is not None else subprocess.PIPE,
                stderr=subprocess.PIPE,
                foreground=foreground,
            )
            threads += [
                threading.Thread(target=collector.drain, args=(stream,), daemon=True)
                for stream, collector in ((process.stdout, out), (process.stderr, err))
                if stream is not None
            ]
            if data is not None:
                threads.append(threading.Thread(target=feed, args=(process.stdin, data), daemon=True))
            for thread in threads:
                thread.start()
            try:
                wait_for(process, timeout)
            except subprocess.TimeoutExpired:
                expired = True
                end(process, GRACE)
            for thread in threads:
                # A grandchild that kept the pipe must not hold us for ever.
                thread.join(GRACE if expired else 30.0)
        except BaseException:
            if process is not None:
                end(process, GRACE)
            raise
        finally:
            for stream in (process.stdout, process.stderr) if process is not None else ():
                if stream is not None and not any(thread.is_alive() for thread in threads):
                    stream.close()
        if out.failure or err.failure:
            raise out.failure or err.failure or AssertionError
        done = Completed(shown, process.returncode, out.text(), err.text(), time.monotonic() - started)
        tail = (done.stderr or done.stdout).splitlines()[-20:]
        if expired:
            raise ProcessTimeout(
                f"{shown[0]} was ended after {timeout:g} s without finishing",
                argv=shown,
                returncode=done.returncode,
                stdout=done.stdout,
                stderr=done.stderr,
                details=tail,
            )
        if check and done.returncode != 0:
            raise ProcessError(
                f"{shown[0]} {ending(done.returncode)}",
                argv=shown,
                returncode=done.returncode,
                stdout=done.stdout,
                stderr=done.stderr,
                details=tail,
            )
        return done

    def start(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | None = None,
        stdout: Path | None = None,
        detach: bool = False,
    ) -> LocalProcess:
        """Start in the background with both streams appended to the file `stdout` (default: nowhere).

        `detach` makes a session of its own that Ctrl-C in this terminal does not reach.
        """
        words = _reveal(argv)
        target = stdout.open("ab") if stdout is not None else None
        try:
            process = self._popen(
                argv,
                words,
                cwd,
                env,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=target if target is not None else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                session=detach,
            )
        finally:
            if target is not None:
                target.close()
        if stdin is not None:
            feed(process.stdin, stdin)
        return LocalProcess(process, tuple(str(word) for word in argv))

    def _popen(
        self,
        argv: Sequence[Argument],
        words: list[str],
        cwd: Path | None,
        env: Mapping[str, str | Secret] | None,
        *,
        stdin: int | BinaryIO,
        stdout: int | BinaryIO,
        stderr: int,
        session: bool = False,
        foreground: bool = False,
    ) -> subprocess.Popen[bytes]:
        if self._debug is not None:
            self._debug(paste(argv, env))
        environment = clean_environment(os.environ, env, program=words[0])
        process: subprocess.Popen[bytes] | None = None
        try:
            with interrupts_held():
                process = subprocess.Popen(
                    words,
                    cwd=cwd,
                    env=environment,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=session,
                    # A group of its own lets the whole tree be ended; Ctrl-C reaches us and we end it.
                    process_group=None if session or foreground else 0,
                )
        except FileNotFoundError as exc:
            if cwd is not None and not cwd.is_dir():
                raise ProcessError(f"{cwd} is not a directory", argv=words[:1]) from exc
            raise ProgramMissing(
                f"the program {words[0]!r} is not installed",
                argv=[str(word) for word in argv],
                hint="`make setup` installs what Freehold needs",
            ) from exc
        except PermissionError as exc:
            raise ProcessError(f"{words[0]} may not be run: {exc.strerror}", argv=words[:1]) from exc
        except BaseException:
            if process is not None:
                end(process, GRACE)
            raise
        return process


def _reveal(argv: Sequence[Argument]) -> list[str]:
    for word in argv:
        if isinstance(word, Secret):
            raise TypeError("a Secret may not stand in argv; give it by env or stdin")
    return [str(word) for word in argv]
