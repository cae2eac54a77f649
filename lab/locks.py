"""Who may change a lab: one command at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freehold.errors import LockedError
from freehold.files import new_private_dir
from lab.places import labs_dir


@contextmanager
def locked(name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lab for the block; the lock ends with the process. LockedError where another one holds it."""
    path = lock_file(name)
    while True:
        try:
            new_private_dir(labs_dir())
            lock = path.open("a")
        except FileNotFoundError:
            # `lab down` of another command removes the folder with the last lab.
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as exc:
                raise LockedError(
                    f"another command is changing the lab {name}", hint="wait for it to end, then run again"
                ) from exc
            # `lab down` removes the file: what was locked then is no longer what others would lock.
            if not _is_still(path, lock.fileno()):
                continue
            yield
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def lock_file(name: str) -> Path:
    """The file that is locked, which is there as long as the lab."""
    return labs_dir() / f".{name}.lock"
