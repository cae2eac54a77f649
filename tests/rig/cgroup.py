"""A control group per host: all of its processes can be found and ended, whatever they did."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.rig.errors import RigError


@cache
def mount_point() -> Path:
    """Where the unified hierarchy is mounted (also on machines that keep version 1 beside it)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise RigError("no cgroup2 file system is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """A control group directly below the root."""

    name: str

    @property
    def path(self) -> Path:
        return mount_point() / self.name

    def make(self) -> None:
        self.path.mkdir(exist_ok=True)

    def kill(self, deadline: float = 120) -> None:
        """SIGKILL to every process in it and below at one instant; then remove it. Seconds."""
        if not self.path.is_dir():
            return
        (self.path / "cgroup.kill").write_text("1")
        end = time.monotonic() + deadline
        while "populated 1" in (self.path / "cgroup.events").read_text():
            if time.monotonic() > end:
                raise RigError(f"processes in {self.path} survive SIGKILL for {deadline:g} s")
            time.sleep(0.02)
        self.remove()

    def remove(self) -> None:
        """Remove the empty group with the groups that its systemd made."""
        for directory, _, _ in os.walk(self.path, topdown=False):
            with suppress(FileNotFoundError):
                Path(directory).rmdir()


def groups(prefix: str) -> tuple[Group, ...]:
    """Groups whose names begin with `prefix`."""
    found = sorted(path.name for path in mount_point().iterdir() if path.is_dir())
    return tuple(Group(name) for name in found if name.startswith(prefix))
