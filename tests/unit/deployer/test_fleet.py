"""Many hosts at once: what one failing host means for the others, and a lock that is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from deployer.endpoint import Endpoint
from deployer.fleet import Fleet
from deployer.script import Script, ScriptResult, Step, StepOutcome
from deployer.stream import Stopped
from freehold.console import Console
from freehold.errors import HostError

HOSTS = ("a", "b", "c")
SCRIPTS = {name: Script((Step("step", "true"),)) for name in HOSTS}
DEADLINE = 30


class Scripted:
    """A host whose script ends as told; `for ever` ends when the fleet is stopped."""

    def __init__(self, fleet: Fleet, name: str, outcome: str) -> None:
        self.fleet, self.name, self.outcome = fleet, name, outcome
        self.execs = 0

    def close(self) -> None:
        pass

    def run(self, _script: Script, **_more: object) -> ScriptResult:
        if self.outcome == "broken":
            raise HostError("the connection was lost", host=self.name)
        if self.outcome == "for ever":
            end = time.monotonic() + DEADLINE
            while not self.fleet.cancelled.wait(0.05):
                assert time.monotonic() < end
            raise Stopped("stopped", host=self.name)
        code = int(self.outcome == "failed")
        return ScriptResult(
            self.name, code, (StepOutcome("step", "failed" if code else "ok", 0.1, ("line",)),)
        )


@pytest.fixture
def fleet() -> Callable[..., Fleet]:
    def make(**outcomes: str) -> Fleet:
        made = Fleet({name: Endpoint(name, name, "deploy") for name in outcomes}, Console(quiet=True))
        made.remotes = {
            name: Scripted(made, name, outcome.replace("_", " "))  # type: ignore[misc]
            for name, outcome in outcomes.items()
        }
        return made

    return make


@pytest.mark.parametrize("how", ["failed", "broken"])
def test_one_failure_stops_the_others(fleet: Callable[..., Fleet], how: str) -> None:
    hosts = fleet(a="for ever", b=how, c="done")
    answers = hosts.run(SCRIPTS, "Trying", timeout=5, together=True)
    assert isinstance(answers.errors["a"], Stopped)
    assert not isinstance(answers.errors.get("b"), Stopped)
    assert answers.values["c"].ok
    # What comes next is not stopped.
    assert not hosts.cancelled.is_set()


def test_a_lost_lock_stops_all_that_is_watched(fleet: Callable[..., Fleet]) -> None:
    hosts = fleet(a="for ever", b="for ever", c="done")
    hosts.lock_lost = threading.Event()
    threading.Timer(0.2, hosts.lock_lost.set).start()
    answers = hosts.run(SCRIPTS, "Trying", timeout=5, watched=True)
    assert set(answers.errors) == {"a", "b"}
    assert set(fleet(a="done").run({"a": SCRIPTS["a"]}, "Undoing", timeout=5).values) == {"a"}


def test_a_failure_alone_stops_nobody(fleet: Callable[..., Fleet]) -> None:
    hosts = fleet(a="done", b="failed", c="broken")
    answers = hosts.run(SCRIPTS, "Trying", timeout=5)
    assert set(answers.values) == {"a", "b"} and set(answers.errors) == {"c"}
