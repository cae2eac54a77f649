"""Hosts of equal power: each may use the same part of a processor, however many there are.

The hosts of a rig share this machine. Ten of them on two processors are not ten hosts, but a fifth of one
each, and what is measured then is the machine. What the kernel does for them, as writing, is not limited.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.rig import Host
from tests.rig.cgroup import Group, mount_point

PERIOD = 20_000
"""Microseconds: short, so that a host never stands still for long."""


@contextlib.contextmanager
def limited(hosts: Sequence[Host], percent: float) -> Iterator[None]:
    """For as long as the block runs, no host has more than `percent` of one processor."""
    quota = round(PERIOD * percent / 100)
    first = _first_version()
    groups = [host.machine.group for host in hosts]
    try:
        for group in groups:
            if first is None:
                (mount_point() / "cgroup.subtree_control").write_text("+cpu")
                (group.path / "cpu.max").write_text(f"{quota} {PERIOD}")
                continue
            place = first / group.name
            place.mkdir(exist_ok=True)
            (place / "cpu.cfs_period_us").write_text(str(PERIOD))
            (place / "cpu.cfs_quota_us").write_text(str(quota))
            # A process that has just ended is in no group; what one of them starts is in its own.
            for pid in _processes(group):
                with contextlib.suppress(ProcessLookupError):
                    (place / "cgroup.procs").write_text(pid)
        yield
    finally:
        for group in groups:
            if first is None:
                (group.path / "cpu.max").write_text(f"max {PERIOD}")
            elif (place := first / group.name).is_dir():
                (place / "cpu.cfs_quota_us").write_text("-1")
                for pid in (place / "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        (first / "cgroup.procs").write_text(pid)
                with contextlib.suppress(OSError):
                    place.rmdir()


def _first_version() -> Path | None:
    """Where control groups of version 1 limit processors; None where those of version 2 do."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Path(place)
    return None


def _processes(group: Group) -> Iterator[str]:
    for path in group.path.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            yield from path.read_text().split()
