"""What a load run saw: every failure with its time, the times of the answers, which version answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["kept", "fresh", "slow", "websocket"]


@dataclass(frozen=True)
class Failure:
    """One request that was not answered as it should; `at` in seconds after the start."""

    at: float
    target: str
    kind: Kind
    cause: str

    def __str__(self) -> str:
        return f"{self.at:8.2f} s  {self.target}  {self.kind}: {self.cause}"


@dataclass(frozen=True)
class Served:
    """One request that was answered; `seconds` from sending to the last byte."""

    at: float
    target: str
    kind: Kind
    seconds: float
    version: str


@dataclass(frozen=True)
class LoadReport:
    """A finished run of `seconds`. `messages` and `reopened` count what the WebSockets did."""

    seconds: float
    answers: Sequence[Served]
    failures: Sequence[Failure]
    messages: int = 0
    reopened: int = 0

    @property
    def served(self) -> int:
        """Requests that were answered."""
        return len(self.answers)

    @property
    def failed(self) -> int:
        """Requests and WebSockets that were not."""
        return len(self.failures)

    @property
    def versions(self) -> Mapping[str, int]:
        """How many requests each version answered, in the order of first sight."""
        found: dict[str, int] = {}
        for answer in sorted(self.answers, key=lambda answer: answer.at):
            found[answer.version] = found.get(answer.version, 0) + 1
        return found

    def version_between(self, target: str, start: float, end: float) -> frozenset[str]:
        """The versions that a target showed to requests sent in a span of time."""
        return frozenset(a.version for a in self.answers if a.target == target and start <= a.at < end)

    def percentile(self, share: float) -> float:
        """Seconds within which `share` (0 to 1) of the quick requests were answered; 0 without any."""
        quick = sorted(answer.seconds for answer in self.answers if answer.kind != "slow")
        return quick[min(len(quick) - 1, int(share * len(quick)))] if quick else 0.0

    def as_data(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "seconds": round(self.seconds, 2),
            "served": self.served,
            "failed": self.failed,
            "p50": round(self.percentile(0.5), 4),
            "p99": round(self.percentile(0.99), 4),
            "versions": dict(self.versions),
            "websocket": {"messages": self.messages, "reopened": self.reopened},
            "failures": [str(failure) for failure in self.failures],
        }


@dataclass
class Tally:
    """Collects while the load runs; one event loop writes."""

    answers: list[Served] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    messages: int = 0
    reopened: int = 0

    def report(self, seconds: float) -> LoadReport:
        """The state now."""
        return LoadReport(seconds, tuple(self.answers), tuple(self.failures), self.messages, self.reopened)
