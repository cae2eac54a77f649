"""What can go wrong with a rig itself (not with what is tested in it)."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.errors import FreeholdError


class RigError(FreeholdError):
    """The rig cannot do what was asked."""


class BootFailed(RigError):
    """A host did not reach the state "running"; `details` are the last lines of its console."""

    def __init__(self, host: str, message: str, console: Sequence[str]) -> None:
        super().__init__(
            "\n".join((f"{host}: {message}", *(f"  | {line}" for line in console))),
            hint="the whole console is in console.log in the host's directory until the rig is taken down",
            details=console,
        )
        self.host = host
