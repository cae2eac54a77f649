"""Where in a user's file something stands."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Location:
    """A place in a file: 1-based line and column (0 where unknown) and the dotted key."""

    file: str
    line: int = 0
    column: int = 0
    key: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        return f"{place} {self.key}" if self.key else place

    def under(self, key: str | int) -> Location:
        """The same place with `key` appended to the dotted key (`servers.web`, `hosts[2]`)."""
        if isinstance(key, int):
            return replace(self, key=f"{self.key}[{key}]")
        return replace(self, key=f"{self.key}.{key}" if self.key else key)
