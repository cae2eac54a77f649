"""How long images take: in full, after a changed user, file or package; and what other builders take.

Everything of one run has the same packages from the same mirror (`imagepeers.py`).
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.imagepeers import LIMITS, PEERS, Task, available, system_mirror
from builder.image import Image, build_image
from builder.packages import image_packages
from builder.payload import payload
from builder.spec import ImageSpec
from cloudinit.extrafiles import ExtraFile
from cloudinit.iso import iso_bytes
from cloudinit.profile import HostProfile
from cloudinit.seed import Seed, render_seed
from cloudinit.users import User
from freehold.console import Console
from freehold.process import LocalRunner

REBUILD_LIMIT = 5.0
PACKAGE_LIMIT = 0.5
SEED_LIMIT = 0.05
SIZE_LIMIT = 450_000_000


@dataclass(frozen=True)
class Stage:
    """One measured step: seconds by the clock, and of the processors (comparable on a busy machine too)."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Result:
    """All stages, and the compressed image's size in bytes."""

    stages: dict[str, Stage]
    size: int

    @property
    def limits(self) -> dict[str, bool]:
        """Each limit, and whether it was kept."""
        full = self.stages["full build"].wall
        found = {
            **{
                f"{name} under {REBUILD_LIMIT:g} s": self.stages[name].wall < REBUILD_LIMIT
                for name in ("changed user", "changed file")
            },
            f"changed package under {PACKAGE_LIMIT:g} of full": (
                self.stages["changed package"].wall < PACKAGE_LIMIT * full
            ),
            f"seed under {SEED_LIMIT * 1000:g} ms": self.stages["seed ISO"].wall < SEED_LIMIT,
            f"image under {SIZE_LIMIT // 1_000_000} MB": self.size < SIZE_LIMIT,
        }
        for name, limit in LIMITS.items():
            if name in self.stages:
                share = full / self.stages[name].wall
                found[f"full build under {limit:g} of {name} ({share:.2f})"] = share < limit
        return found

    @property
    def good(self) -> bool:
        """Whether every limit was kept."""
        return all(self.limits.values())

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        stages = {name: {"wall": stage.wall, "cpu": stage.cpu} for name, stage in self.stages.items()}
        return {"stages": stages, "size": self.size, "limits": self.limits, "load": os.getloadavg()[0]}

    def as_text(self) -> str:
        """For people."""
        lines = [
            f"{name:20} {stage.wall:7.2f} s  {stage.cpu:7.2f} s cpu" for name, stage in self.stages.items()
        ]
        lines.append(f"image: {self.size / 1e6:.0f} MB; load of this machine: {os.getloadavg()[0]:.1f}")
        return "\n".join(
            [*lines, *(f"{'kept' if kept else 'MISSED'}: {name}" for name, kept in self.limits.items())]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--suite", default="trixie")
    parser.add_argument("--mirror", default="", help="the mirror for all; default: the system's own")
    parser.add_argument("--no-peers", action="store_true", help="measure Freehold alone")


def run(options: argparse.Namespace) -> Result:
    """Build on an empty cache of its own, then change one thing after the other; then let the peers build."""
    runner, console = LocalRunner(), Console(quiet=True)
    mirror = options.mirror or system_mirror()
    spec = ImageSpec(options.suite)
    stages: dict[str, Stage] = {}
    with tempfile.TemporaryDirectory(prefix="fh-images-") as place:
        cache = Path(place) / "cache"

        def build(changed: ImageSpec) -> Image:
            return build_image(changed, runner=runner, console=console, cache=cache, mirror=mirror)

        def measure(name: str, work: Callable[[], object]) -> None:
            stages[name] = timed(work)
            print(f"{name}: {stages[name].wall:.1f} s", file=sys.stderr)

        measure("full build", lambda: build(spec))
        size = build(spec).size
        profile = HostProfile()
        for name, changed in {
            "changed user": replace(profile, users=(*profile.users, User("second"))),
            "changed file": replace(profile, files=(ExtraFile("/etc/motd", "hello\n"),)),
        }.items():
            measure(name, partial(build, replace(spec, profile=changed)))
        measure("changed package", lambda: build(replace(spec, packages=("htop",))))
        measure("seed ISO", lambda: iso_bytes(render_seed(Seed("web-1")).files()))
        names = image_packages(spec, payload(None, spec.suite).packages)
        for name in () if options.no_peers else available():
            own = Path(place) / name
            own.mkdir()
            # Removed at the end: after many deletions an ext4 without a journal is slow for a while.
            measure(name, partial(PEERS[name], Task(spec.suite, names, mirror, spec.size), own))
    return Result(stages, size)


def timed(work: Callable[[], object]) -> Stage:
    """Wall-clock and processor time of `work` and of the processes it waited for."""
    before, started = _cpu(), time.monotonic()
    work()
    return Stage(time.monotonic() - started, _cpu() - before)


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
