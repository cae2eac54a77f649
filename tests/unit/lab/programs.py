"""Programs that tests start to be found by what /proc tells of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 60.0


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[subprocess.Popen[bytes]]:
    """A program whose command line can be read; it is killed at the end.

    Popen returns while the kernel still loads the program: its command line is empty for that instant.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + DEADLINE
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
                assert time.monotonic() < end
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
