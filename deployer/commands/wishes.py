"""What is to be shown of a log, and the flags of `docker logs` that show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LogWishes:
    """Which lines; `lines` counts per host."""

    follow: bool = False
    lines: int | None = None
    since: str | None = None
    grep: str | None = None
    grep_options: tuple[str, ...] = ()
    timestamps: bool = True

    @property
    def stamps(self) -> list[str]:
        """Whether each line begins with its time."""
        return ["--timestamps"] if self.timestamps else []

    @property
    def tail(self) -> list[str]:
        """How many lines of what was written before."""
        return ["--tail", str(self.lines)] if self.lines is not None else []

    @property
    def flags(self) -> list[str]:
        """All of it, for one container."""
        since = ["--since", self.since] if self.since else []
        return [*self.stamps, *(["--follow"] if self.follow else []), *since, *self.tail]
