"""A check: one thing that has to be true of a host, told from observed facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloudinit.facts import Facts
from cloudinit.profile import HostProfile

Problem = Callable[[Facts, HostProfile], str]


@dataclass(frozen=True)
class CheckResult:
    """A check's outcome on one host."""

    id: str
    title: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """One thing that has to be true. `problem` says what is not, or is empty."""

    id: str
    title: str
    problem: Problem

    def result(self, facts: Facts, profile: HostProfile) -> CheckResult:
        """The outcome for a host of which this was observed."""
        problem = self.problem(facts, profile)
        return CheckResult(self.id, self.title, not problem, problem)


def check(identity: str, title: str) -> Callable[[Problem], Check]:
    """Make a check out of the function that finds its problem."""

    def made(problem: Problem) -> Check:
        return Check(identity, title, problem)

    return made


def running(facts: Facts, *units: str) -> str:
    """What keeps units from running now and after the next boot; empty where nothing does."""
    problems = []
    for unit in units:
        found = facts.unit(unit)
        if found.get("ActiveState") != "active":
            problems.append(f"{unit} is {found.get('ActiveState', 'unknown')}")
        elif found.get("UnitFileState") != "enabled":
            problems.append(f"{unit} is not started at boot")
    return "; ".join(problems)
