"""Waiting for a machine on trial: until it answers, or its console shows that it never will."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from freehold.errors import BuildError
from freehold.process import Started

DONE = "INSTALLED:"
REFUSED = "NOT INSTALLED:"
# Behind a refusal comes the list of disks, and this at its end.
LAST = "press Ctrl-Alt-Del to start again"
# Seconds without a word on the console after which nothing is expected any more; emulation is slow.
SILENCE = 600.0

# What stands on the console of a machine that waits for somebody, or for nothing at all.
STUCK = {
    LAST: "the installer refused",
    "Kernel panic - not syncing": "the kernel panicked",
    "grub rescue>": "GRUB found no system",
    "Gave up waiting for root": "the initramfs did not find the root",
    "Entering emergency mode": "systemd went into emergency mode",
    # UEFI's last resort, and what it says where Secure Boot forbids that. A BIOS says it on the screen alone.
    "UEFI Interactive Shell": "the firmware found nothing to start",
    "No bootable option or device was found": "the firmware found nothing to start",
}


# What a busy computer does to an emulated kernel, which finds no tick in the time that it gives its timer.
LOST_TICKS = "IO-APIC + timer doesn't work"
RESETS = 3
# The end of a panic's report may come after the reset, and of a line the first half before the other.
_UNSURE = re.compile(r"---\[ end Kernel[^\n]*|Kernel panic[^\n]*\Z")


class Serial:
    """What a machine prints on its serial port, into the file `serial`.

    A kernel that could not find its timer is started anew by `reset`, at most `RESETS` times; what it had
    said by then does not count any more.
    """

    def __init__(self, serial: Path, reset: Callable[[], None] | None = None) -> None:
        self.serial = serial
        self._reset = reset
        self._resets = self._begin = 0

    def read(self) -> str:
        """All since the start, or since the last reset."""
        if not self.serial.exists():
            return ""
        text = self._text()
        while LOST_TICKS in _UNSURE.sub("", text) and self._reset and self._resets < RESETS:
            self._resets += 1
            self._begin += len(text)
            self._reset()
            text = self._text()
        return _UNSURE.sub("", text)

    def _text(self) -> str:
        return self.serial.read_text(errors="replace")[self._begin :]


def stuck(console: str) -> str:
    """Why no answer will come from the machine with this console; empty while one may."""
    for sign, reason in STUCK.items():
        if sign in console:
            said = [line.strip() for line in console.splitlines() if line.startswith(REFUSED)]
            return f"{reason}: {said[-1]}" if sign == LAST and said else reason
    return ""


def await_answer(
    console: Serial,
    process: Started,
    answers: Callable[[], bool],
    *,
    log: Path,
    deadline: float,
    silence: float = SILENCE,
    pause: float = 0.5,
) -> float:
    """Seconds until `answers`; BuildError with the console's end where that will not be.

    That is: the machine ended or stopped, was silent for `silence` seconds, or `deadline` seconds are over.
    `log` is QEMU's own output.
    """
    started = heard = time.monotonic()
    length = -1
    while True:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else []
            raise BuildError("QEMU ended before the machine answered", details=lines)
        if answers():
            return time.monotonic() - started
        now = time.monotonic()
        said = console.read()
        if len(said) != length:
            length, heard = len(said), now
        reason = stuck(said)
        if not reason and now - started > deadline:
            reason = f"it did not within {deadline:.0f} s"
        elif not reason and now - heard > silence:
            reason = f"its console has been silent for {silence:.0f} s"
        if reason:
            raise BuildError(
                f"the machine does not answer over SSH: {reason}",
                hint="the last lines of its console are above",
                details=console_tail(console.serial),
            )
        time.sleep(pause)


def verdict(console: Serial, process: Started, *, deadline: float = 1800) -> str:
    """The installer's last word on the serial console: the line with INSTALLED or NOT INSTALLED."""
    started = time.monotonic()
    while time.monotonic() - started < deadline:
        text = console.read()
        said = [line.strip() for line in text.splitlines() if line.startswith((DONE, REFUSED))]
        # A refusal goes on with the list of disks.
        if said and (said[0].startswith(DONE) or LAST in text):
            return said[0]
        if process.poll() is not None:
            break
        time.sleep(1)
    raise BuildError("the installer came to no end", details=console_tail(console.serial))


def ssh_banner(port: int) -> bool:
    """Whether an SSH server speaks there: user-mode networking accepts on the guest's behalf."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def console_tail(serial: Path, count: int = 25) -> list[str]:
    """The last lines of a serial log, without what only a terminal understands."""
    if not serial.exists():
        return []
    text = serial.read_bytes()[-20_000:].decode(errors="replace")
    return ["".join(c for c in line if c.isprintable()) for line in text.splitlines()[-count:]]
