"""A recipe as one bash script, for a live host or for a root tree.

The script reports on standard output: `@@freehold STEP start`, then what the step prints, then
`@@freehold STEP ok|changed|failed SECONDS`. It ends at the first step that fails, with its status.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from cloudinit.recipe import Recipe
from cloudinit.steps import Directory, File, Step

State = Literal["start", "ok", "changed", "failed"]
# What the recipe remembers on a host: which files it wrote, which commands ran, its own digest.
STATE = "/var/lib/freehold-bootstrap"
# The beginning of a here-document, and the word that ends it; `<<<` is none.
_HERE = re.compile(r"(?<!<)<<'?(\w+)'?")
_EVENT = re.compile(r"@@freehold (\S+) (start|ok|changed|failed)(?: (\d+\.\d+))?\s*")


@dataclass(frozen=True)
class StepEvent:
    """A marker line of a running script; `seconds` is the step's duration once it has ended."""

    step: str
    state: State
    seconds: float | None = None


def parse_event(line: str) -> StepEvent | None:
    """The event that a line of output announces, or None for ordinary output."""
    found = _EVENT.fullmatch(line)
    if found is None:
        return None
    seconds = float(found.group(3)) if found.group(3) else None
    return StepEvent(found.group(1), cast(State, found.group(2)), seconds)


def as_script(recipe: Recipe, *, offline: bool) -> str:
    """The recipe as a bash script that root runs, from a file or on standard input.

    `offline`: inside a root tree whose packages are already there. Units are enabled, nothing is
    started and no network is used. Otherwise: on a live host; what is missing is installed, what
    changed is reloaded or restarted. A second run changes nothing.
    """
    parts = [
        "#!/bin/bash",
        # A script that arrives cut off defines functions and runs nothing.
        "main() {",
        f"FREEHOLD_OFFLINE={int(offline)} FREEHOLD_STATE={STATE}",
        shell_library("library"),
        shell_library("lists"),
        _preamble(recipe),
        *(_function(step) for step in recipe.steps),
        *(f"run_step {step.name}" for step in recipe.steps),
        "run_step finish",
        "}",
        'main "$@"',
    ]
    return without_comments("\n".join(parts) + "\n")


def without_comments(text: str) -> str:
    """A bash script without its lines of comment and its indentation, which stay at home: user-data is small.

    The text of here-documents, which are files on the host, is left as it is. Words in quotes that go on in
    another line lose what that begins with: no program that minds (Python) may stand in them.
    """
    kept = []
    end: str | None = None
    # Lines as bash has them: str.splitlines knows further ends, and would alter the files that hold one.
    for line in text.removesuffix("\n").split("\n"):
        if end is not None:
            end = None if line == end else end
        else:
            line = line.lstrip(" ")
            if not line or (line.startswith("#") and not line.startswith("#!")):
                continue
            if found := _HERE.search(line):
                end = found[1]
        kept.append(line)
    return "\n".join(kept) + "\n"


def shell_library(name: str) -> str:
    """Shell functions, by the name of their file: `library`, `door` (bash), `lists` (sh)."""
    return Path(__file__).with_name("data").joinpath(f"{name}.sh").read_text(encoding="utf-8")


def _preamble(recipe: Recipe) -> str:
    cases = "\n".join(
        f"    {suite}) PACKAGES+=({' '.join(names)}) ;;"
        for suite, names in sorted(recipe.suite_packages.items())
    )
    return f"""
[ "$(id -u)" = 0 ] || {{ say "error: this script has to run as root"; exit 1; }}
[ -r /etc/os-release ] && . /etc/os-release
[ -e /etc/debian_version ] || {{ say "error: only Debian and its derivatives are supported, not ${{PRETTY_NAME:-this}}"; exit 1; }}
PACKAGES=({" ".join(recipe.packages)})
case ${{VERSION_CODENAME:-}} in
{cases}
    *) ;;
esac
if live; then alone; fi
FREEHOLD_WORK=$(mktemp -d)
trap 'rm -rf "$FREEHOLD_WORK"' EXIT
step_finish() {{
    file $FREEHOLD_STATE/recipe 644 root root <<'END'
{recipe.digest}
END
}}
"""  # noqa: E501 - one shell statement a line


def _function(step: Step) -> str:
    body = [step.before.strip()]
    body.extend(_directory(item) for item in step.directories)
    body.extend(_file(item) for item in step.files)
    body.append(step.script.strip())
    if step.live.strip():
        body.append(f"if live; then\n{step.live.strip()}\nfi")
    # Bash has no functions without a command.
    return "\n".join([f"step_{step.name}() {{", *([*filter(None, body)] or [":"]), "}"])


def _directory(item: Directory) -> str:
    return f"directory {shlex.quote(item.path)} {item.mode:o} {item.owner} {item.group}"


def _file(item: File) -> str:
    content = item.content if item.content.endswith("\n") else item.content + "\n"
    actions = "".join(f" {action} {shlex.quote(unit)}" for action, unit in item.notify)
    end = _delimiter(content)
    check = f"CHECK={shlex.quote(item.check)} " if item.check else ""
    head = f"{check}file {shlex.quote(item.path)} {item.mode:o} {item.owner} {item.group}{actions}"
    return f"{head} <<'{end}'\n{content}{end}"


def _delimiter(content: str) -> str:
    # A line of the content equal to the delimiter would end the file early.
    lines = set(content.split("\n"))
    end = "END"
    while end in lines:
        end = "END_" + hashlib.sha256((end + content).encode()).hexdigest()[:12]
    return end
