"""Work that may never come back, such as asking a libvirt that hangs: given up after a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from freehold.errors import DeadlineError

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T], *, doing: str) -> T:
    """What `work` returns or raises; DeadlineError where it takes longer.

    A thread that hangs in a C library cannot be ended: it is left behind, and ends with this process.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=run, daemon=True, name="lab-within")
    thread.start()
    # In slices: a join without an end would hold back Ctrl-C.
    left = seconds
    while left > 0 and thread.is_alive():
        thread.join(min(left, 0.2))
        left -= 0.2
    if failed:
        raise failed[0]
    if not done:
        raise DeadlineError(f"{doing}: no answer in {seconds:g} s")
    return done[0]
