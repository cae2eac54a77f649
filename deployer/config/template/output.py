"""Text made from a template, with the line of the template behind each line of the text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from freehold.source import Location


@dataclass(frozen=True)
class Rendered:
    """`text`, and for each of its lines the template's line and whether it was taken over as it stands.

    `unset` are the environment variables that were missing, by line of the template.
    """

    text: str
    lines: tuple[int, ...]
    verbatim: frozenset[int]
    unset: tuple[tuple[int, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def move(self, where: Location) -> Location:
        """A place in the text as a place in the template; the column is lost where the line was changed."""
        if not 1 <= where.line <= len(self.lines):
            return where
        column = where.column if where.line in self.verbatim else 0
        return replace(where, line=self.lines[where.line - 1], column=column)

    def unset_at(self, where: Location) -> tuple[str, ...]:
        """The environment variables that were missing on a line of the template."""
        return tuple(dict.fromkeys(name for line, name in self.unset if line == where.line))

    def computed(self, where: Location) -> bool:
        """Whether a template wrote what stands at a place of the template's own lines."""
        return where.column == 0


@dataclass
class Output:
    """Collects text piece by piece."""

    parts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)

    def literal(self, text: str, line: int) -> None:
        """Text of the template that begins on its line `line`."""
        self._add(text, line, moving=True)

    def computed(self, text: str, line: int) -> None:
        """Text that an expression on `line` made."""
        if text:
            self._mark()
        self._add(text, line, moving=False)
        self._mark()

    def _mark(self) -> None:
        self.changed.add(max(len(self.lines), 1))

    def _add(self, text: str, line: int, *, moving: bool) -> None:
        self.parts.append(text)
        if not text:
            return
        if not self.lines:
            self.lines.append(line)
        elif self.parts and _at_line_start(self.parts[:-1]):
            self.lines[-1] = line
        for offset in range(1, text.count("\n") + 1):
            self.lines.append(line + offset if moving else line)
            if not moving:
                self.changed.add(len(self.lines))

    def done(self) -> tuple[str, tuple[int, ...], frozenset[int]]:
        """The text, the template's line by line of text, and the lines taken over as they stand."""
        unchanged = frozenset(range(1, len(self.lines) + 1)) - self.changed
        return "".join(self.parts), tuple(self.lines), unchanged


def _at_line_start(parts: list[str]) -> bool:
    for part in reversed(parts):
        if part:
            return part.endswith("\n")
    return True
