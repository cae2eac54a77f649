"""What is known besides the deploy file when it is resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from freehold.secret import Secret


@dataclass(frozen=True)
class Surroundings:
    """The file's name, the destinations, secrets, hooks, the environment that templates left, the version."""

    file: str
    destination: str | None
    destinations: Sequence[str]
    hooks_path: str
    secrets: Callable[[str], Secret]
    environ: Mapping[str, str]
    version: str | None = None

    def destination_hint(self, otherwise: str) -> str:
        """The hint for something that a destination's file may hold."""
        if self.destination is None and self.destinations:
            return f"{otherwise}; or choose a destination with -d: {', '.join(self.destinations)}"
        return otherwise
