"""Which disk the installer writes to: conditions that are checked on the machine itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.spec import parse_size
from freehold.errors import UsageError
from freehold.settings import near

WORDS = ("only", "empty", "first-empty")
# These name a disk; the two of a mirror with a slash between.
NAMES = ("by-id", "serial")
VALUES = ("by-id", "serial", "model")
# How people write the size's conditions; both are inclusive.
SIZE = re.compile(r"^size(>=|<=)(.+)$")
# What udev leaves in a disk's names; nothing of it means something to a shell.
PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:+@*?-]*$")
EXAMPLE = "such as serial=S4EVNX0N, by-id=nvme-Acme_1TB_42, size>=200G,empty or first-empty"


@dataclass(frozen=True)
class DiskRule:
    """Conditions that must all hold: (`key`, value). `disks` (1 or 2) must be left, else nothing is written.

    A disk that holds something is overwritten only where `wipe` is given or the rule names it by `by-id` or
    `serial`.
    """

    conditions: tuple[tuple[str, str], ...]
    text: str
    wipe: bool = False
    disks: int = 1

    def lines(self) -> str:
        """The rule as the installer reads it: a condition on each line, sizes in bytes."""
        found = [*self.conditions, *([("wipe", "")] if self.wipe else [])]
        return "".join(f"{key} {value}".rstrip() + "\n" for key, value in found)


def parse_rule(text: str, *, wipe: bool = False, disks: int = 1) -> DiskRule:
    """The rule `serial=…`, `by-id=…`, `model=…`, `size>=…`, `size<=…`, `empty`, `first-empty`, `only`,
    several separated by commas; UsageError for anything else. Of two disks both are named: `serial=A/B`."""
    conditions = [_condition(part.strip(), disks) for part in text.split(",")]
    keys = [key for key, _ in conditions]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"the disk rule {text!r} says {key} twice", hint=EXAMPLE)
    return DiskRule(tuple(conditions), text, wipe, disks)


def _check_names(key: str, names: list[str], disks: int) -> None:
    if len(names) == disks == len(set(names)):
        return
    if disks == 1:
        raise UsageError(
            f"{key}={'/'.join(names)} names {len(names)} disks", hint="a mirror has two: --raid1"
        )
    raise UsageError(
        f"{key}={'/'.join(names)} does not name two disks, which a mirror needs", hint=f"such as {key}=A/B"
    )


def _condition(part: str, disks: int) -> tuple[str, str]:
    if part in WORDS:
        return part, ""
    sized = SIZE.match(part)
    if sized:
        return f"size{sized[1]}", str(parse_size(sized[2]))
    key, equals, value = part.partition("=")
    key = key.strip()
    if key in VALUES and equals:
        value = value.strip().replace("/dev/disk/by-id/", "")
        names = value.split("/") if key in NAMES else [value]
        for name in names:
            if not PLAIN.match(name) or (key != "model" and re.search(r"[*?]", name)):
                raise UsageError(f"{name!r} is no value for {key} in a disk rule", hint=EXAMPLE)
        if key in NAMES:
            _check_names(key, names, disks)
        return key, value
    if part.startswith("/dev/"):
        raise UsageError(
            f"{part} is another disk on every boot; a rule says what does not change", hint=EXAMPLE
        )
    guess = near(key, [*WORDS, *VALUES, "size>=", "size<="])
    raise UsageError(
        f"{part!r} is no disk rule", hint=f"did you mean {guess!r}? Write it {EXAMPLE}" if guess else EXAMPLE
    )
