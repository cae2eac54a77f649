"""Scripts one after the other through the loop that runs on a host, by this computer's own bash."""

from __future__ import annotations

import random
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from deployer.script import Script, Step, StreamParser
from deployer.shell import LOOP, MOST_ARGUMENT, Ending, Use, beginning, packed
from deployer.stream import Lines


class Loop:
    """The loop as a local process."""

    def __init__(self, command: str = LOOP) -> None:
        self.process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def keep(self, library: str) -> None:
        """Shell functions for scripts that are run `with` them."""
        assert self.process.stdin
        self.process.stdin.write(packed(library, "library")[0])

    def run(self, text: str, use: Use = "alone") -> tuple[int, list[str]]:
        """A script's exit code and its lines."""
        assert self.process.stdin
        data, mark = packed(text, use)
        self.process.stdin.write(data)
        self.process.stdin.flush()
        return self.answer(mark)

    def answer(self, mark: str) -> tuple[int, list[str]]:
        """What a script says until its end."""
        assert self.process.stdout
        seen: list[str] = []
        ending = Ending(mark, seen.append)
        lines = Lines(ending.line)
        while ending.status is None:
            byte = self.process.stdout.read(1)
            assert byte, "the loop ended"
            lines.feed(byte)
        return ending.status, seen


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.process.communicate(timeout=60)
    assert made.process.returncode == 0


def test_one_script_after_the_other(loop: Loop) -> None:
    assert loop.run("echo one; exit 3") == (3, ["one"])
    assert loop.run("echo $0 $#; x=1") == (0, ["bash 0"])
    # Nothing of the script before is left.
    assert loop.run('echo "x=$x"') == (0, ["x="])


def test_a_last_line_without_an_end(loop: Loop) -> None:
    assert loop.run("printf 'half'") == (0, ["half"])
    assert loop.run("printf ''") == (0, [])


def test_a_script_is_its_size_and_not_a_byte_more(loop: Loop) -> None:
    # Larger than any buffer on the way, and the next one follows at once.
    assert loop.run(f": {'x' * 3_000_000}\necho done") == (0, ["done"])
    assert loop.run("echo next") == (0, ["next"])


def test_what_a_script_prints_does_not_end_it(loop: Loop) -> None:
    text = "echo '@@end-0123456789abcdef 0'; echo '@@end- 1'; exit 9"
    assert loop.run(text) == (9, ["@@end-0123456789abcdef 0", "@@end- 1"])


def test_errors_of_the_shell_itself_are_lines(loop: Loop) -> None:
    status, lines = loop.run("if")
    assert status == 2 and "syntax error" in lines[-1]
    assert loop.run("kill -9 $$")[0] == 137
    # A program that is left behind does not keep the next script waiting.
    assert loop.run("sleep 5 >/dev/null 2>&1 & echo on") == (0, ["on"])


def test_a_library_travels_once(loop: Loop) -> None:
    loop.keep('greet() { echo "hello $1 %s\\\\"; }\n\n')
    assert loop.run("greet you", "with") == (0, ["hello you %s\\"])
    assert loop.run("greet again; exit 4", "with") == (4, ["hello again %s\\"])
    assert loop.run("greet you")[0] == 127
    loop.keep("greet() { echo other; }")
    assert loop.run("greet", "with") == (0, ["other"])


def test_the_first_script_may_come_with_the_loop() -> None:
    begun = beginning('echo "it\'s $0 $#"; exit 6')
    assert begun
    loop = Loop(begun[0])
    # What follows is not its input, and nothing has been sent yet that it could wait for.
    assert loop.answer(begun[1]) == (6, ["it's bash 0"])
    assert loop.run("echo next") == (0, ["next"])
    loop.process.communicate(timeout=60)
    assert loop.process.returncode == 0


def test_what_is_too_long_for_an_argument_is_sent() -> None:
    noise = random.Random(1).randbytes(MOST_ARGUMENT).hex()
    assert beginning(f": {noise}") is None


def test_steps_and_their_outcome(loop: Loop) -> None:
    script = Script((Step("first", "echo yes"), Step("second", "cat; echo no >&2; false")))
    parser = StreamParser("web-1")
    status, lines = loop.run(script.render())
    for line in lines:
        parser.feed(line)
    result = parser.finish(status)
    assert not result.ok and result.failed and result.failed.name == "second"
    assert result.output("first") == "yes" and result.output("second") == "no"
