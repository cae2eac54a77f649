"""How long images take: in full, after a changed user, after a changed package; and what debootstrap takes.

The peer is the least that any builder on debootstrap has to do with the same packages from the same mirror:
debootstrap, mke2fs, a compressed qcow2. It configures nothing and boots nowhere.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.assemble import make_qcow2
from builder.image import build_image
from builder.packages import image_packages
from builder.payload import payload
from builder.spec import ImageSpec
from cloudinit.iso import iso_bytes
from cloudinit.profile import HostProfile
from cloudinit.seed import Seed, render_seed
from cloudinit.users import User
from freehold.console import Console
from freehold.process import LocalRunner

REBUILD_LIMIT = 5.0
PACKAGE_LIMIT = 0.5
PEER_LIMIT = 0.5
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
            f"changed user under {REBUILD_LIMIT:g} s": self.stages["changed user"].wall < REBUILD_LIMIT,
            f"changed package under {PACKAGE_LIMIT:g} of full": (
                self.stages["changed package"].wall < PACKAGE_LIMIT * full
            ),
            f"seed under {SEED_LIMIT * 1000:g} ms": self.stages["seed ISO"].wall < SEED_LIMIT,
            f"image under {SIZE_LIMIT // 1_000_000} MB": self.size < SIZE_LIMIT,
        }
        if "debootstrap peer" in self.stages:
            peer = self.stages["debootstrap peer"].wall
            found[f"full build under {PEER_LIMIT:g} of the peer"] = full < PEER_LIMIT * peer
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
    parser.add_argument("--mirror", default="", help="the mirror for both; default: the system's own")
    parser.add_argument("--no-peer", action="store_true", help="leave debootstrap out")


def run(options: argparse.Namespace) -> Result:
    """Build on an empty cache of its own, then change one thing after the other."""
    runner, console = LocalRunner(), Console(quiet=True)
    spec = ImageSpec(options.suite)
    stages: dict[str, Stage] = {}
    with tempfile.TemporaryDirectory(prefix="fh-images-") as place:
        cache = Path(place) / "cache"

        def build(changed: ImageSpec) -> Callable[[], object]:
            return lambda: build_image(
                changed, runner=runner, console=console, cache=cache, mirror=options.mirror
            )

        stages["full build"] = timed(build(spec))
        profile = HostProfile()
        users = (*profile.users, User("second"))
        stages["changed user"] = timed(build(replace(spec, profile=replace(profile, users=users))))
        stages["changed package"] = timed(build(replace(spec, packages=("htop",))))
        size = build_image(spec, runner=runner, console=console, cache=cache, mirror=options.mirror).size
        stages["seed ISO"] = timed(lambda: iso_bytes(render_seed(Seed("web-1")).files()))
        if not options.no_peer and shutil.which("debootstrap"):
            stages["debootstrap peer"] = timed(
                lambda: peer(spec, Path(place) / "peer", options.mirror, runner)
            )
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


def peer(spec: ImageSpec, place: Path, mirror: str, runner: LocalRunner) -> None:
    """The same packages by debootstrap, as a compressed qcow2 of one file system."""
    names = ",".join(image_packages(spec, payload(None, spec.suite).packages))
    tree, raw = place / "tree", place / "disk.raw"
    place.mkdir()
    base = ["debootstrap", "--variant=minbase", f"--include={names}", spec.suite, str(tree)]
    subprocess.run([*base, *([mirror] if mirror else [])], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, raw, f"{spec.size // 1024}k"], check=True)
    make_qcow2(raw, place / "disk.qcow2", runner)
