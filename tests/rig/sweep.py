"""Removing a rig, whole or in pieces, by what its number says about names: also after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from freehold.process import Runner
from tests.rig import cgroup, netns
from tests.rig.errors import RigError
from tests.rig.slot import Slot, slots

GRACE = 3.0


def gc(runner: Runner) -> tuple[str, ...]:
    """Remove rigs whose owner is gone; returns what was removed."""
    removed = []
    for slot in slots():
        lock = slot.try_lock()
        if lock is None:
            continue
        with lock:
            clear(slot, runner)
            removed.append(f"rig {slot.number}: left over by a run that was killed; removed")
    return tuple(removed)


def clear(slot: Slot, runner: Runner) -> None:
    """Remove all that belongs to a slot. The caller holds its lock. Nothing there is no error."""
    spaces = netns.names(slot.prefix)
    # Operators' processes first, in order: a command line that is ended may want to clean up.
    end([pid for space in spaces if space.name.endswith("control") for pid in netns.processes(space, runner)])
    for group in cgroup.groups(f"freehold-rig.{slot.prefix}"):
        group.kill()
    for space in spaces:
        end(netns.processes(space, runner))
    netns.batch(runner, [f"netns del {space.name}" for space in spaces])
    if slot.directory.is_dir():
        if slot.directory.is_mount():
            runner.run(("umount", "--lazy", slot.directory))
        shutil.rmtree(slot.directory)
    slot.forget()


def end(pids: Iterable[int]) -> None:
    """SIGTERM, and SIGKILL after `GRACE` seconds."""
    rest = [pid for pid in pids if pid != os.getpid()]
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in rest:
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        limit = time.monotonic() + GRACE
        while rest and time.monotonic() < limit:
            rest = [pid for pid in rest if _lives(pid)]
            time.sleep(0.02)
        if not rest:
            return
    raise RigError(f"processes {rest} survive SIGKILL")


def _lives(pid: int) -> bool:
    try:
        # A zombie has ended; its parent has not looked yet.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
