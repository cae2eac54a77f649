"""What a person (or with `--json` a program) sees.

Progress and messages go to standard error, results to standard output, so that results can be
piped. `-q` leaves errors and results, `-v` adds details. Colour and live boards appear on a
terminal only; elsewhere each change of a board is one plain line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from freehold.board import Board

STYLES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}
HOST_STYLES = ("cyan", "green", "yellow", "blue")


def duration(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def size(count: float) -> str:
    """Bytes for people, in powers of 1000: `512 B`, `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


Listener = Callable[[str, str, str], None]
"""Called with a level (debug, info, warn, error), the host or nothing, and the message."""
ANSI = re.compile(r"\033\[[0-9;]*m")


class Console:
    """Thread-safe output. `json` and `quiet` silence progress; `verbose` shows details."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        color: bool | None = None,
    ) -> None:
        self.quiet = quiet or json
        self.verbose = verbose
        self.json = json
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.terminal = self.err.isatty() and os.environ.get("TERM") != "dumb"
        self.color = color if color is not None else self.terminal and "NO_COLOR" not in os.environ
        self._lock = threading.RLock()
        self._hosts: dict[str, str] = {}
        self._board: Board | None = None
        self._listeners: list[Listener] = []

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Tell `listener` everything while the block runs, also what `-q` hides and only `-v` shows."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def tell(self, level: str, message: str, host: str = "") -> None:
        """Tell the listeners without showing anything."""
        for listener in self._listeners:
            listener(level, host, ANSI.sub("", message))

    def paint(self, text: str, style: str) -> str:
        """`text` in a style where colour is on."""
        return f"\033[{STYLES[style]}m{text}\033[0m" if self.color and style else text

    def _write(self, text: str) -> None:
        # A reader that has gone, a full disk: no reason to leave the work half done.
        with self._lock, suppress(OSError):
            if self._board is not None and self._board.print_above(text):
                return
            self.err.write(text + "\n")
            self.err.flush()

    def info(self, message: str) -> None:
        """Something that happened."""
        self.tell("info", message)
        if not self.quiet:
            self._write(message)

    def success(self, message: str) -> None:
        """Something that went well and ends a command."""
        self.tell("info", message)
        if not self.quiet:
            self._write(self.paint(message, "green"))

    def detail(self, message: str) -> None:
        """Something for `-v` only: commands, decisions."""
        self.tell("debug", message)
        if self.verbose and not self.quiet:
            self._write(self.paint(message, "dim"))

    def warn(self, message: str) -> None:
        """Something to look at; shown with `-q` too."""
        self.tell("warn", message)
        self._write(f"{self.paint('warning:', 'yellow')} {message}")

    def host(self, host: str, line: str) -> None:
        """One line of a host's output, with its name in front."""
        self.tell("info", line, host)
        if not self.quiet:
            self._write(f"{self.host_label(host)} {line}")

    def host_label(self, host: str) -> str:
        """The host's name, always in the same colour."""
        with self._lock:
            style = self._hosts.setdefault(host, HOST_STYLES[len(self._hosts) % len(HOST_STYLES)])
        return self.paint(f"{host:>12} |", style)

    def error(self, error: BaseException) -> None:
        """A failure: message, the last lines printed, the hint. With `--json` an object on standard error."""
        if self.json:
            self._write(json.dumps(error_object(error), ensure_ascii=False))
            return
        lines = [f"{self.paint('error:', 'red')} {error}"]
        if isinstance(error, FreeholdError):
            lines += [self.paint(f"  | {line}", "dim") for line in error.details]
            if error.hint:
                lines.append(f"{self.paint('hint:', 'cyan')} {error.hint}")
        self._write("\n".join(lines))

    def print(self, text: str = "") -> None:
        """A result in words, on standard output."""
        with self._lock:
            self.out.write(text + "\n")
            self.out.flush()

    def data(self, value: Any) -> None:
        """The result of a command as JSON, on standard output."""
        self.print(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A result as aligned columns, on standard output."""
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [
            max([len(header), *(len(row[index]) for row in cells)]) for index, header in enumerate(headers)
        ]

        def line(row: Sequence[str]) -> str:
            return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

        bold = self.color and self.out.isatty()
        head = line([header.upper() for header in headers])
        self.print(f"\033[1m{head}\033[0m" if bold else head)
        for row in cells:
            self.print(line(row))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Name what the block does, then how long it took or that it failed."""
        started = time.monotonic()
        self.info(f"{self.paint('▸', 'blue')} {title}")
        try:
            yield
        except BaseException:
            self.info(f"{self.paint('✗', 'red')} {title} {self._took(started)}")
            raise
        self.info(f"{self.paint('✓', 'green')} {title} {self._took(started)}")

    def _took(self, started: float) -> str:
        return self.paint(f"({duration(time.monotonic() - started)})", "dim")

    @property
    def _draws(self) -> bool:
        return self.terminal and not self.quiet

    def make_ready(self) -> None:
        """Load what draws boards, 60 ms of it, while something else is waited for."""
        if self._draws:
            import freehold.drawing  # noqa: F401

    @contextmanager
    def board(self, title: str, names: Sequence[str]) -> Iterator[Board]:
        """A live line for each of many things that go on at once; see `freehold.board`."""
        from freehold.board import Board

        with self._lock:
            live = self._board is None and self._draws
            board = Board(self, title, names, live=live)
            if live:
                self._board = board
        try:
            board.begin()
            yield board
        finally:
            board.end()
            with self._lock:
                if self._board is board:
                    self._board = None


def error_object(error: BaseException) -> dict[str, Any]:
    """An error as plain data for `--json`."""
    found: dict[str, Any] = {"error": str(error), "type": type(error).__name__}
    if isinstance(error, FreeholdError):
        found["message"] = error.message
        if error.where is not None:
            where = error.where
            found["where"] = {
                "file": where.file,
                "line": where.line,
                "column": where.column,
                "key": where.key,
            }
        found["hint"] = error.hint
        found["details"] = list(error.details)
        for name in ("host", "step", "returncode"):
            if getattr(error, name, None) not in (None, ""):
                found[name] = getattr(error, name)
    return found
