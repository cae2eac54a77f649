"""The serial console of a machine on this terminal: keys go there, its output comes here."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from freehold.errors import LabError, UsageError

# Ctrl-] as telnet and virsh have it.
ESCAPE = b"\x1d"
NO_TERMINAL = "the console needs a terminal"
LOGS = "`freehold lab logs` shows what it printed"


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    saved = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


def attach(device: Path) -> None:
    """Connect this terminal to a pseudo-terminal until Ctrl-] is pressed or the machine ends."""
    if not sys.stdin.isatty():
        raise UsageError(NO_TERMINAL, hint=LOGS)
    try:
        far = os.open(device, os.O_RDWR | os.O_NOCTTY)
    except OSError as exc:
        raise LabError(f"the console {device} cannot be opened: {exc.strerror}") from exc
    here = sys.stdin.fileno()
    try:
        with _raw(far), _raw(here):
            _pump(here, far)
    finally:
        os.close(far)


class Far(Protocol):
    """A console on another computer."""

    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


def attach_far(far: Far) -> None:
    """Connect this terminal to a console until Ctrl-] is pressed or the machine ends."""
    if not sys.stdin.isatty():
        raise UsageError(NO_TERMINAL, hint=LOGS)
    here, ended = sys.stdin.fileno(), threading.Event()

    def show() -> None:
        while data := far.read():
            os.write(sys.stdout.fileno(), data)
        ended.set()

    reader = threading.Thread(target=show, daemon=True)
    with _raw(here):
        reader.start()
        try:
            while not ended.is_set():
                if not select.select([here], [], [], 0.2)[0]:
                    continue
                data = os.read(here, 1024)
                if not data or ESCAPE in data:
                    break
                far.write(data)
        finally:
            far.close()
            reader.join(2)


def _pump(here: int, far: int) -> None:
    while True:
        ready, _, _ = select.select([here, far], [], [])
        if far in ready:
            try:
                data = os.read(far, 65536)
            except OSError:
                return
            if not data:
                return
            os.write(sys.stdout.fileno(), data)
        if here in ready:
            data = os.read(here, 1024)
            if not data or ESCAPE in data:
                return
            os.write(far, data)
