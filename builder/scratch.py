"""Where a raw disk stands while it is needed: in memory where there is plenty, else beside the result.

A disk image is written once, read once and deleted; on a disk, mke2fs waits until all of it is there.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.spec import GiB
from builder.store import disk_free

SHARED_MEMORY = Path("/dev/shm")
# What a golden image's data takes, with room for more packages; and what the machine must keep besides.
RAW = 2 * GiB
KEEP = 4 * GiB


def roomy(memory: Path, meminfo: str) -> bool:
    """Whether a raw disk fits into memory; `meminfo` is the text of /proc/meminfo."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    available = int(found[1]) * 1024 if found else 0
    return memory.is_dir() and disk_free(memory) >= RAW + KEEP and available >= RAW + KEEP


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A directory for large files that do not stay; in `beside` where memory is short. Removed at the end."""
    meminfo = Path("/proc/meminfo")
    fits = roomy(SHARED_MEMORY, meminfo.read_text() if meminfo.exists() else "")
    place = Path(tempfile.mkdtemp(prefix="freehold-raw-", dir=SHARED_MEMORY if fits else beside))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
