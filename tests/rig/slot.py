"""A place for one rig: a number, a directory, a lock that tells whether its owner still lives."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from freehold.paths import cache_dir
from tests.rig.errors import RigError

COUNT = 250
# One place for the whole machine: namespaces and control groups are the machine's too.
LOCKS = Path("/run/lock/freehold-rig")


def default_root() -> Path:
    """Where rigs keep their files; `FREEHOLD_RIG_DIR` overrides."""
    given = os.environ.get("FREEHOLD_RIG_DIR")
    return Path(given).absolute() if given else cache_dir() / "rig"


@dataclass(frozen=True)
class Slot:
    """Rig number `number` (1 to 250): names and addresses follow from it, so that rigs never collide."""

    number: int
    directory: Path

    @property
    def prefix(self) -> str:
        """Begins the names of the rig's namespaces, machines and control groups."""
        return f"fh-{self.number}-"

    @property
    def subnet(self) -> str:
        return f"198.18.{self.number}.0/24"

    def address(self, last: int) -> str:
        return f"198.18.{self.number}.{last}"

    @property
    def state_path(self) -> Path:
        return self.directory / "rig.json"

    def try_lock(self) -> TextIO | None:
        """The lock, held until it is closed or this process ends; None while another process holds it."""
        return _try_lock(self.number)

    def owner(self) -> int | None:
        """The process that holds the rig; None where nobody does."""
        lock = self.try_lock()
        if lock is not None:
            lock.close()
            return None
        note = _read(self.number)
        return int(note["pid"]) if note else None

    def forget(self) -> None:
        """There is nothing left of the rig. The caller holds the lock."""
        _path(self.number).write_text("")


def _path(number: int) -> Path:
    return LOCKS / str(number)


def _read(number: int) -> dict[str, Any]:
    text = _path(number).read_text()
    note: dict[str, Any] = json.loads(text) if text else {}
    return note


def _try_lock(number: int) -> TextIO | None:
    LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    stream = _path(number).open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream


def slots() -> tuple[Slot, ...]:
    """Every rig of this machine, running or left over."""
    if not LOCKS.is_dir():
        return ()
    numbers = sorted(int(path.name) for path in LOCKS.iterdir())
    notes = ((number, _read(number)) for number in numbers)
    return tuple(Slot(number, Path(note["directory"])) for number, note in notes if note)


def take(root: Path) -> tuple[Slot, TextIO]:
    """A free slot with its directory below `root`, and its lock. What is there may be leftovers."""
    for number in range(1, COUNT + 1):
        lock = _try_lock(number)
        if lock is None:
            continue
        slot = Slot(number, root / str(number))
        note = {"pid": os.getpid(), "directory": str(slot.directory)}
        _path(number).write_text(json.dumps(note))
        return slot, lock
    raise RigError(f"{COUNT} rigs run already", hint="`python -m tests.rig list` shows them")
