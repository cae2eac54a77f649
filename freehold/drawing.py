"""A board's lines drawn in place, with rich; a module of its own, as it takes a while to load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console as Terminal
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from freehold.board import STYLES

Rows = Sequence[tuple[str, str, str]]
"""Name, what it does, and a mark once it has ended."""


class Drawing:
    """Draws what `rows()` gives, again and again, until it is stopped."""

    def __init__(self, rows: Callable[[], Rows], out: TextIO, *, color: bool) -> None:
        self._rows = rows
        self._spinner = Spinner("dots", style="cyan")
        terminal = Terminal(file=out, highlight=False, no_color=not color)
        self._live = Live(console=terminal, get_renderable=self._table, refresh_per_second=8)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()

    def print_above(self, text: str) -> bool:
        """Print a line above the others; False where nothing is drawn."""
        if not self._live.is_started:
            return False
        self._live.console.print(Text.from_ansi(text))
        return True

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for name, text, mark in self._rows():
            sign = Text(mark, style=STYLES[mark]) if mark else self._spinner
            table.add_row(" ", sign, Text(name), Text(text, no_wrap=True, overflow="ellipsis"))
        return table
