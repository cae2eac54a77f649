"""A live board: one line for each of many hosts, machines or layers that progress at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from freehold.console import Console
    from freehold.drawing import Drawing

STYLES = {"✓": "green", "✗": "red"}


class Progress(Protocol):
    """What work that goes on beside other work tells of itself."""

    def update(self, name: str, text: str) -> None: ...


class Board:
    """Made by `Console.board`. `update`, `done` and `fail` may be called from any thread.

    On a terminal the lines are drawn in place; elsewhere each change is one plain line.
    """

    def __init__(self, console: Console, title: str, names: Sequence[str], *, live: bool) -> None:
        self._console = console
        self._title = title
        self._rows: dict[str, tuple[str, str]] = dict.fromkeys(names, ("waiting", ""))
        self._width = max([len(name) for name in names], default=0)
        self._started = time.monotonic()
        self._lock = threading.RLock()
        self._drawing: Drawing | None = None
        if live:
            from freehold.drawing import Drawing

            self._drawing = Drawing(self._now, console.err, color=console.color)

    def update(self, name: str, text: str) -> None:
        """What `name` is doing now."""
        self._set(name, text, "")

    def done(self, name: str, text: str = "done") -> None:
        """`name` has finished."""
        self._set(name, text, "✓")

    def fail(self, name: str, text: str) -> None:
        """`name` has failed."""
        self._set(name, text, "✗")

    def _set(self, name: str, text: str, mark: str) -> None:
        with self._lock:
            if self._rows.get(name) == (text, mark):
                return
            self._rows[name] = (text, mark)
            self._width = max(self._width, len(name))
        if self._drawing is not None:
            self._console.tell("info", f"{mark or '·'} {text}", name)
        else:
            sign = self._console.paint(mark or "·", STYLES.get(mark, "cyan"))
            took = self._console.paint(f"({time.monotonic() - self._started:.1f} s)", "dim")
            self._console.info(f"  {sign} {name:<{self._width}}  {text} {took}")

    def begin(self) -> None:
        """Show the title and, on a terminal, begin to draw."""
        self._console.info(f"{self._console.paint('▸', 'blue')} {self._title}")
        if self._drawing is not None:
            self._drawing.start()

    def end(self) -> None:
        """Leave the last state on the screen."""
        if self._drawing is not None:
            self._drawing.stop()

    def print_above(self, text: str) -> bool:
        """Print a line above the live lines; False where nothing is drawn live."""
        return self._drawing is not None and self._drawing.print_above(text)

    def _now(self) -> list[tuple[str, str, str]]:
        with self._lock:
            return [(name, text, mark) for name, (text, mark) in self._rows.items()]
