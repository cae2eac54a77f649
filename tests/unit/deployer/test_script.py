"""Scripts and what comes back from them, run by a real bash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.script import Script, ScriptResult, Step, StreamParser, heredoc


def run(script: Script, cut: int | None = None) -> ScriptResult:
    """As a host would: the text on standard input, both output streams line by line."""
    text = script.render()
    done = subprocess.run(
        ["bash", "-s"], input=text[:cut], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    parser = StreamParser("host")
    for line in done.stdout.splitlines():
        parser.feed(line)
    return parser.finish(done.returncode)


def test_each_line_belongs_to_its_step() -> None:
    result = run(Script((Step("one", "echo a; echo b >&2"), Step("two", "echo c"))))
    assert result.ok and result.failed is None
    assert [step.name for step in result.steps] == ["one", "two"]
    assert result.lines("one") == ("a", "b")
    assert result.output("two") == "c"
    assert all(step.seconds >= 0 for step in result.steps)


@pytest.mark.parametrize("shell", ["false", "false | true", "echo x; exit 7", "ls /nonexistent/x; echo no"])
def test_the_first_failure_ends_the_script(shell: str) -> None:
    result = run(Script((Step("good", "true"), Step("bad", shell), Step("never", "echo no"))))
    assert not result.ok
    assert result.failed is not None and result.failed.name == "bad"
    assert result.returncode == (7 if "exit 7" in shell else result.returncode) != 0
    assert "no" not in [line for step in result.steps for line in step.lines]


def test_it_can_go_on_after_a_failure_and_fails_all_the_same() -> None:
    result = run(Script((Step("bad", "exit 3"), Step("good", "echo done")), keep_going=True))
    assert result.returncode == 3
    assert result.failed is not None and result.failed.name == "bad"
    assert result.lines("good") == ("done",)


def test_steps_do_not_share_their_variables_or_directory() -> None:
    script = Script((Step("one", "cd /; x=1; set +e"), Step("two", 'echo "${x-unset}"; false; echo on')))
    result = run(script)
    assert result.lines("two") == ("unset",)
    assert result.failed is not None


def test_a_step_cannot_eat_the_rest_of_the_script() -> None:
    result = run(Script((Step("greedy", "cat; read -r x || echo empty"), Step("next", "echo here"))))
    assert result.lines("greedy") == ("empty",)
    assert result.lines("next") == ("here",)


def test_output_without_a_line_end_keeps_the_marker() -> None:
    result = run(Script((Step("one", "printf half"), Step("two", "echo whole"))))
    assert result.ok
    assert result.lines("one") == ("half",)
    assert result.lines("two") == ("whole",)


def test_markers_that_a_program_prints_are_its_output() -> None:
    shell = """echo '@@freehold two ok 0.100'
echo '@@freehold three start'
echo 'x @@freehold two failed 0.1'
echo '@@freehold'"""
    result = run(Script((Step("one", shell), Step("two", "true"))))
    assert result.ok
    assert len(result.lines("one")) == 4
    assert [step.name for step in result.steps] == ["one", "two"]


def test_a_stream_that_breaks_off_inside_a_step() -> None:
    parser = StreamParser("host")
    for line in ("@@freehold one start", "a", "@@freehold one ok 0.1", "@@freehold two start", "b"):
        parser.feed(line)
    result = parser.finish(-1)
    assert not result.ok
    assert result.failed is not None
    assert (result.failed.name, result.failed.state, result.failed.lines) == ("two", "cut", ("b",))


def test_what_stands_outside_of_steps_is_kept_apart() -> None:
    parser = StreamParser("host")
    for line in ("Welcome", "@@freehold one start", "@@freehold one ok 0.1", "bye"):
        parser.feed(line)
    result = parser.finish(0)
    assert result.noise == ("Welcome", "bye")
    assert result.lines("one") == ()


def test_who_watches_sees_events_and_lines_as_they_come() -> None:
    seen: list[str] = []
    parser = StreamParser(
        "host", lambda event: seen.append(event.state), lambda step, line: seen.append(f"{step}:{line}")
    )
    for line in ("@@freehold one start", "a", "@@freehold one failed 0.1"):
        parser.feed(line)
    assert seen == ["start", "one:a", "failed"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_text_that_arrives_cut_off_does_nothing(cut: int) -> None:
    script = Script((Step("one", "echo ran"), Step("two", "echo ran too")))
    size = len(script.render())
    # All but what follows the call may be missing.
    result = run(script, cut % (size - len("main </dev/null\nexit\n")))
    assert not any(step.lines for step in result.steps)


def test_the_guard_keeps_two_scripts_apart(tmp_path: Path) -> None:
    guard = tmp_path / "locks" / "app.lock"
    script = Script((Step("one", "echo in"),), guard=str(guard))
    assert run(script).lines("one") == ("in",)
    held = f"exec 8>{guard}; flock 8; exec 8>&8; flock --nonblock {guard} true; echo $?"
    found = subprocess.run(["bash", "-c", held], capture_output=True, text=True)
    assert found.stdout == "1\n"
    inner = f"flock --nonblock {guard} echo free || echo held"
    assert run(Script((Step("one", inner),), guard=str(guard))).lines("one") == ("held",)


def test_a_guard_that_cannot_be_made_fails_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(Script((Step("one", "echo in"),), guard=f"{tmp_path}/file/x/app.lock"))
    assert result.returncode == 73
    assert result.steps == ()


def test_the_library_is_there_for_every_step() -> None:
    result = run(Script((Step("one", "hello"),), library="hello() { echo from here; }"))
    assert result.lines("one") == ("from here",)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_characters="\r\0")))
def test_a_here_document_carries_any_text(text: str) -> None:
    result = subprocess.run(["bash", "-s"], input=f"cat {heredoc(text)}\n", capture_output=True, text=True)
    assert result.stdout == (text if text.endswith("\n") or not text else text + "\n")


def test_a_here_document_carries_its_own_word() -> None:
    assert "FREEHOLD_END_" in heredoc("a\nFREEHOLD_END\nb")
