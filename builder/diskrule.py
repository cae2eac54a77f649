"""Which disk the installer writes to: conditions that are checked on the machine itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.spec import parse_size
from freehold.errors import UsageError
from freehold.settings import near

WORDS = ("only", "empty", "first-empty")
VALUES = ("by-id", "serial", "model")
# How people write the size's conditions; both are inclusive.
SIZE = re.compile(r"^size(>=|<=)(.+)$")
# What udev leaves in a disk's names; nothing of it means something to a shell.
PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:+@*?-]*$")
EXAMPLE = "such as serial=S4EVNX0N, by-id=nvme-Acme_1TB_42, size>=200G,empty or first-empty"


@dataclass(frozen=True)
class DiskRule:
    """Conditions that must all hold: (`key`, value). One disk must be left, else nothing is written.

    A disk that holds something is overwritten only where `wipe` is given or the rule names it by `by-id` or
    `serial`.
    """

    conditions: tuple[tuple[str, str], ...]
    text: str
    wipe: bool = False

    def lines(self) -> str:
        """The rule as the installer reads it: a condition on each line, sizes in bytes."""
        found = [*self.conditions, *([("wipe", "")] if self.wipe else [])]
        return "".join(f"{key} {value}".rstrip() + "\n" for key, value in found)


def parse_rule(text: str, *, wipe: bool = False) -> DiskRule:
    """The rule `serial=…`, `by-id=…`, `model=…`, `size>=…`, `size<=…`, `empty`, `first-empty`, `only`,
    several separated by commas; UsageError for anything else."""
    conditions = [_condition(part.strip()) for part in text.split(",")]
    keys = [key for key, _ in conditions]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"the disk rule {text!r} says {key} twice", hint=EXAMPLE)
    return DiskRule(tuple(conditions), text, wipe)


def _condition(part: str) -> tuple[str, str]:
    if part in WORDS:
        return part, ""
    sized = SIZE.match(part)
    if sized:
        return f"size{sized[1]}", str(parse_size(sized[2]))
    key, equals, value = part.partition("=")
    key = key.strip()
    if key in VALUES and equals:
        value = value.strip().removeprefix("/dev/disk/by-id/")
        if not PLAIN.match(value) or (key != "model" and re.search(r"[*?]", value)):
            raise UsageError(f"{value!r} is no value for {key} in a disk rule", hint=EXAMPLE)
        return key, value
    if part.startswith("/dev/"):
        raise UsageError(
            f"{part} is another disk on every boot; a rule says what does not change", hint=EXAMPLE
        )
    guess = near(key, [*WORDS, *VALUES, "size>=", "size<="])
    raise UsageError(
        f"{part!r} is no disk rule", hint=f"did you mean {guess!r}? Write it {EXAMPLE}" if guess else EXAMPLE
    )
