"""Limits of this machine that many booted systems run into."""

from __future__ import annotations

from pathlib import Path

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
# A booted system holds about a dozen; all belong to this machine's root, who by default has 128.
ENOUGH = 2048


def raise_limits() -> None:
    """Let root have enough inotify instances for a dozen systems; what is more is left as it is."""
    if int(INSTANCES.read_text()) < ENOUGH:
        INSTANCES.write_text(f"{ENOUGH}\n")
