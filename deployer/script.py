"""Many steps, one round trip: a bash text whose output names the step it belongs to.

The text travels compressed on standard input, so that nothing in it stands in a process's
argv, but for a question that is said to be `open`. Each step runs in a subshell with `set -e` and announces
itself with the marker lines of `cloudinit.script`; the first step that fails ends the script.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cloudinit.script import StepEvent, parse_event

MARK = "@@freehold "
GUARD_PATIENCE = 90

# What is made belongs to the group freehold: another member of it goes on with what one has begun.
_HEAD = r"""main() {
umask 002
exec 2>&1
run_step() {
    local started=$EPOCHREALTIME status
    printf '@@freehold %s start\n' "$1"
    ( set -eo pipefail; "$2" )
    status=$?
    local now=$EPOCHREALTIME
    local took=$(( ${now/[.,]/} - ${started/[.,]/} ))
    # The clock may have been put back.
    [ $took -ge 0 ] || took=0
    [ $status = 0 ] && set -- "$1" ok || set -- "$1" failed
    printf '@@freehold %s %s %d.%03d\n' "$1" "$2" $((took / 1000000)) $((took / 1000 % 1000))
    [ $status = 0 ] || { FAILED=$status; [ -n "$KEEP_GOING" ] || exit $status; }
}
"""


@dataclass(frozen=True)
class Step:
    """A named shell fragment. `title` is what a person reads while it runs."""

    name: str
    shell: str
    title: str = ""
    waits: float = 0.0
    """Seconds that it may wait, as configured: for requests to end, for containers to stop or to start."""
    gate: bool = False
    """Where it fails nothing else runs, whatever the script says about that."""


@dataclass(frozen=True)
class Script:
    """Steps that run one after the other on one host, over one SSH exec."""

    steps: tuple[Step, ...]
    guard: str = ""
    """A file to hold locked (flock) while the script runs, so that no two change the same thing."""
    library: str = ""
    """Shell functions that the steps use."""
    keep_going: bool = False
    """Run the other steps after one that is no gate has failed; the script fails all the same."""
    open: bool = False
    """It holds nothing that others on the host may not see: it may stand in a process's argv."""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def render(self, *, library: bool = True) -> str:
        """The bash text, or what follows its library.

        It defines everything first, so one that arrives cut off does nothing.
        """
        functions = [
            f"step_{index}() {{\n:\n{step.shell.strip()}\n}}" for index, step in enumerate(self.steps)
        ]
        calls = [
            f"{'KEEP_GOING= ' if step.gate else ''}run_step {shlex.quote(step.name)} step_{index}"
            for index, step in enumerate(self.steps)
        ]
        calls = [f"KEEP_GOING={'1' if self.keep_going else ''} FAILED=0", *calls, "exit $FAILED"]
        guard = []
        if self.guard:
            lock, folder = shlex.quote(self.guard), shlex.quote(self.guard.rsplit("/", 1)[0])
            guard = [
                f"{{ [ -d {folder} ] || mkdir -p {folder}; }} && exec 9>{lock} || exit 73",
                f"flock -w {GUARD_PATIENCE} 9 || {{ echo 'another script holds {lock}'; exit 75; }}",
            ]
        return "\n".join(
            [
                _HEAD,
                *guard,
                self.library if library else "",
                *functions,
                *calls,
                "}",
                "main </dev/null",
                "exit",
                "",
            ]
        )

    @property
    def waits(self) -> float:
        """Seconds that its steps may wait, one after the other."""
        return sum(step.waits for step in self.steps)

    def title(self, name: str) -> str:
        """What to call a step on the screen."""
        return next((step.title or step.name for step in self.steps if step.name == name), name)


def limit(scripts: Mapping[str, Script], own: float) -> float:
    """Seconds after which scripts hang: `own` for their work, and as long as the slowest may wait."""
    return own + max((script.waits for script in scripts.values()), default=0.0)


@dataclass(frozen=True)
class StepOutcome:
    """A step that ran: its lines, and how it ended (`cut` where the stream broke off inside it)."""

    name: str
    state: Literal["ok", "failed", "cut"]
    seconds: float
    lines: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class ScriptResult:
    """What came back from a host."""

    host: str
    returncode: int
    steps: tuple[StepOutcome, ...]
    noise: tuple[str, ...] = ()
    """Lines outside every step: a shell that does not start, a login banner."""

    @property
    def ok(self) -> bool:
        return self.returncode == 0 and all(step.state == "ok" for step in self.steps)

    @property
    def failed(self) -> StepOutcome | None:
        """The step that failed or was cut off."""
        return next((step for step in self.steps if step.state != "ok"), None)

    def lines(self, name: str) -> tuple[str, ...]:
        """What a step printed; nothing where it did not run."""
        return next((step.lines for step in self.steps if step.name == name), ())

    def output(self, name: str) -> str:
        """What a step printed, as one text."""
        return "\n".join(self.lines(name))


@dataclass
class StreamParser:
    """Sorts the lines of a running script by step; `on_event` and `on_line` see them as they come."""

    host: str
    on_event: Callable[[StepEvent], None] | None = None
    on_line: Callable[[str, str], None] | None = None
    _done: list[StepOutcome] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _noise: list[str] = field(default_factory=list)
    _current: str | None = None

    def feed(self, line: str) -> None:
        """One line of output, without its end."""
        before, mark, after = line.partition(MARK)
        event = parse_event(mark + after) if mark else None
        if event is None or (event.state == "start") != (self._current is None):
            self._plain(line)
            return
        if event.state != "start" and event.step != self._current:
            self._plain(line)
            return
        if before:
            # What a step printed last may lack its line end.
            self._plain(before)
        if event.state == "start":
            self._current, self._lines = event.step, []
        else:
            self._close("failed" if event.state == "failed" else "ok", event.seconds or 0.0)
        if self.on_event is not None:
            self.on_event(event)

    def _plain(self, line: str) -> None:
        if self._current is None:
            self._noise.append(line)
            return
        self._lines.append(line)
        if self.on_line is not None:
            self.on_line(self._current, line)

    def _close(self, state: Literal["ok", "failed", "cut"], seconds: float) -> None:
        assert self._current is not None
        self._done.append(StepOutcome(self._current, state, seconds, tuple(self._lines)))
        self._current = None

    def finish(self, returncode: int) -> ScriptResult:
        """The stream has ended."""
        if self._current is not None:
            self._close("cut", 0.0)
        return ScriptResult(self.host, returncode, tuple(self._done), tuple(self._noise))


def heredoc(text: str, word: str = "FREEHOLD_END") -> str:
    """`<<'WORD'` and the text, for a command that reads it; the word never stands in the text."""
    while word in text.splitlines():
        word += "_"
    return f"<<'{word}'\n{text if text.endswith(chr(10)) or not text else text + chr(10)}{word}"


def discard(path: str) -> str:
    """Remove a tree, without a process of its own where there is none, as there mostly is not."""
    quoted = shlex.quote(path)
    return f"[ ! -e {quoted} ] || rm -rf {quoted}"


def command(argv: Sequence[str]) -> str:
    """argv as one shell line."""
    return shlex.join(argv)
