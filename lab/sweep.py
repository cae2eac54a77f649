"""What of a lab is left on this computer: processes, found by the paths on their command lines."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 5.0


@dataclass(frozen=True)
class Process:
    """A process of this user; `started` tells it from another one that gets the same number later."""

    pid: int
    name: str
    started: str


def _started(pid: int) -> str:
    # Field 22 of /proc/<pid>/stat; the name in parentheses may hold spaces.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def processes(paths: Sequence[Path]) -> tuple[Process, ...]:
    """The processes of this user that name something below one of the paths, this one left out."""
    marks = [f"{path}{end}".encode() for path in paths for end in ("/", "\0")]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            line = (entry / "cmdline").read_bytes()
            if any(mark in line for mark in marks) and _serves(line):
                name = (entry / "comm").read_text().strip()
                found.append(Process(int(entry.name), name, _started(int(entry.name))))
        except OSError:
            continue
    return tuple(found)


def _serves(line: bytes) -> bool:
    """Whether a command line is one of the programs that a lab starts; an editor on its files is not."""
    words = line.split(b"\0")
    program = os.path.basename(words[0])  # noqa: PTH119 - bytes
    return (
        program.startswith((b"qemu-system-", b"libvirtd", b"virtqemud", b"passt"))
        or b"lab.switchd" in words
        # A tunnel to a hypervisor.
        or b"ControlPersist=no" in words
    )


def finish(leftovers: Sequence[Process]) -> tuple[Process, ...]:
    """End processes, politely first; those that would not go."""
    left = list(leftovers)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            if _alive(process):
                try:
                    os.kill(process.pid, sign)
                except OSError:
                    continue
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            left = [process for process in left if _alive(process)]
            if not left:
                return ()
            time.sleep(0.05)
    return tuple(left)


def _alive(process: Process) -> bool:
    try:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and _started(process.pid) == process.started
    except OSError:
        return False
