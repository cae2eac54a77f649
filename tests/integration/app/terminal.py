"""The command on a terminal of its own: what a person types, sees, and does to the window."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE = 60.0


class Terminal:
    """A program with a controlling terminal; `close` ends it and gives its exit code."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        cwd: Path,
        size: tuple[int, int] = (24, 80),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._master, slave = os.openpty()
        self.resize(*size)
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *map(str, argv)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={**os.environ, **(environ or {})},
        )
        os.close(slave)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys; `\\x03` is Ctrl-C."""
        os.write(self._master, text.encode())

    def shows(self, text: str, seconds: float) -> bool:
        """Whether it shows within this time."""
        try:
            self.expect(text, seconds)
        except TimeoutError:
            return False
        return True

    def expect(self, text: str, seconds: float = DEADLINE) -> str:
        """Wait until it shows; what was shown up to then."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > end:
                raise TimeoutError(f"waited in vain for {text!r}: {self.seen!r}")
            if select.select([self._master], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self._master, 4096).decode(errors="replace")
                except OSError as exc:  # the other end has closed
                    raise AssertionError(f"it ended without {text!r}: {self.seen!r}") from exc
        before, _, self.seen = self.seen.partition(text)
        return before

    @property
    def settings(self) -> list[object]:
        """Echo, line discipline and the rest, as the terminal has them now."""
        return list(termios.tcgetattr(self._master))

    def ended(self) -> int:
        """Wait for the end, reading what is shown until then; the exit code."""
        end = time.monotonic() + DEADLINE
        while self._process.poll() is None or self._ready():
            assert time.monotonic() < end, f"it goes on: {self.seen!r}"
            if self._ready(0.1):
                try:
                    self.seen += os.read(self._master, 4096).decode(errors="replace")
                except OSError:  # the other end has closed
                    break
        return self._process.wait(DEADLINE)

    def _ready(self, seconds: float = 0) -> bool:
        return bool(select.select([self._master], [], [], seconds)[0])

    def close(self) -> int:
        """Wait for the end; the exit code."""
        code = self._process.wait(DEADLINE)
        os.close(self._master)
        return code
