"""Why a script failed, in words: cause, last lines, hint."""

from __future__ import annotations

import pytest

from deployer.fleet import Answers
from deployer.report import HINTS, check, step_error, summary, told
from deployer.script import Script, ScriptResult, Step, StepOutcome
from freehold.errors import FreeholdError, HostError, StepFailed

SCRIPT = Script((Step("health-web", "wait", "web is healthy"),))


def failed(*lines: str, returncode: int = 1) -> ScriptResult:
    return ScriptResult("web-1", returncode, (StepOutcome("health-web", "failed", 1.0, lines),))


def test_the_words_of_the_host() -> None:
    error = step_error(
        SCRIPT,
        failed(
            "waiting: http://172.30.0.9:80/up answered 503",
            "failed: http://172.30.0.9:80/up answered 503 after 9 probes",
            "container: running, exit code 0, restarts 0",
            "log| Listening",
            returncode=1,
        ),
    )
    assert isinstance(error, StepFailed)
    assert str(error) == "web-1: web is healthy: http://172.30.0.9:80/up answered 503 after 9 probes"
    assert error.details == ("container: running, exit code 0, restarts 0", "Listening")
    assert "starts but fails" in error.hint
    assert (error.host, error.step, error.returncode) == ("web-1", "web is healthy", 1)


def test_a_program_that_just_fails_is_quoted() -> None:
    error = step_error(SCRIPT, failed("docker: Error response: boom.", "See 'docker run --help'."))
    assert "docker: Error response: boom." in str(error)
    assert "--help" not in "".join(error.details)


def test_a_step_without_a_word() -> None:
    assert "it printed nothing" in str(step_error(SCRIPT, failed()))


@pytest.mark.parametrize(("word", "hint"), HINTS)
def test_each_hint_is_reached(word: str, hint: str) -> None:
    earlier = [known for known, _ in HINTS[: [w for w, _ in HINTS].index(word)] if known in word]
    assert not earlier, "an earlier hint hides this one"
    assert step_error(SCRIPT, failed(f"failed: x {word} y")).hint == hint


def test_a_connection_that_broke() -> None:
    cut = ScriptResult("web-1", -1, (StepOutcome("health-web", "cut", 0, ("waiting: x",)),))
    error = step_error(SCRIPT, cut)
    assert "the connection was lost" in str(error) and "web-1" in str(error)
    assert error.hint


def test_a_shell_that_does_not_start() -> None:
    error = step_error(SCRIPT, ScriptResult("web-1", 127, (), ("bash: command not found",)))
    assert "web-1" in str(error) and "bash: command not found" in str(error)


def test_one_error_for_each_host_that_failed() -> None:
    results = {"web-1": failed("failed: a"), "web-2": ScriptResult("web-2", 0, ())}
    found = check({"web-1": SCRIPT, "web-2": SCRIPT}, results)
    assert [str(error) for error in found] == ["web-1: web is healthy: a"]


def test_several_errors_are_told_together() -> None:
    told = summary([FreeholdError("a", hint="do", details=["x"]), FreeholdError("b")], "all go back")
    assert str(told) == "all go back: a\n  and b"
    assert told.hint == "do"


def test_a_host_that_failed_hides_nothing_of_the_others() -> None:
    well = ScriptResult("web-2", 0, (StepOutcome("health-web", "ok", 1.0, ("fine",)),))
    silent = HostError("connection refused", host="web-3")
    answers = Answers({"web-1": failed("failed: no"), "web-2": well}, {"web-3": silent})
    found = told(dict.fromkeys(("web-1", "web-2", "web-3"), SCRIPT), answers)
    assert found.values == {"web-2": well}
    assert set(found.errors) == {"web-1", "web-3"} and "no" in found.errors["web-1"].message
