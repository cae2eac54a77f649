"""Whether a host is what its profile says: the suite behind `freehold server check`.

Usable from a test suite of one's own, with a testinfra host: see `cloudinit.testing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cloudinit.checks import access, exposure, services, system
from cloudinit.checks.model import Check, CheckResult
from cloudinit.facts import Facts, gathering, parse
from cloudinit.listeners import Listener, listeners
from cloudinit.profile import HostProfile
from freehold.errors import FreeholdError

__all__ = ["CHECKS", "Check", "CheckResult", "CheckedHost", "Examined", "examine", "gather", "run_checks"]

CHECKS: tuple[Check, ...] = (*system.CHECKS, *access.CHECKS, *exposure.CHECKS, *services.CHECKS)


class Result(Protocol):
    """What a testinfra host's `run` returns."""

    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def rc(self) -> int: ...


class CheckedHost(Protocol):
    """The part of a testinfra host that the checks use."""

    def run(self, command: str, /) -> Result: ...


def gather(host: CheckedHost, profile: HostProfile) -> Facts:
    """Everything the checks look at, in one command; FreeholdError where the host does not let us."""
    result = host.run(gathering(profile))
    facts = parse(result.stdout)
    if not facts.outputs:
        raise FreeholdError(
            "the host could not be examined",
            hint="log in as root, or as a user who may become root by sudo without a password",
            details=tuple(result.stderr.splitlines()[-5:]),
        )
    return facts


@dataclass(frozen=True)
class Examined:
    """A host's checks, and what listens on it for other machines."""

    results: tuple[CheckResult, ...]
    listeners: tuple[Listener, ...]

    @property
    def wrong(self) -> tuple[CheckResult, ...]:
        """The checks that fail."""
        return tuple(result for result in self.results if not result.ok)


def examine(host: CheckedHost, profile: HostProfile) -> Examined:
    """Every check against a host, in one round trip."""
    facts = gather(host, profile)
    return Examined(tuple(check.result(facts, profile) for check in CHECKS), listeners(facts))


def run_checks(host: CheckedHost, profile: HostProfile) -> list[CheckResult]:
    """The outcome of every check against a host."""
    return list(examine(host, profile).results)
