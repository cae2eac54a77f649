"""`make demo` on an empty cache and on a warm one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.project import REPO

# On two cores without KVM.
LIMITS = {"cold": 7 * 60.0, "warm": 4 * 60.0}


@dataclass(frozen=True)
class Result:
    """Seconds of each run; the demo prints its stages itself."""

    seconds: dict[str, float]

    @property
    def good(self) -> bool:
        """Whether each run kept its limit."""
        return all(taken < LIMITS[name] for name, taken in self.seconds.items())

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        return {"seconds": self.seconds, "limits": LIMITS}

    def as_text(self) -> str:
        """For people."""
        return "\n".join(
            f"demo, {name} cache: {taken:.0f} s (limit {LIMITS[name]:.0f} s)"
            for name, taken in self.seconds.items()
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--warm-only", action="store_true", help="use the cache that is there")


def run(options: argparse.Namespace) -> Result:
    """Bring the demo up and down once on each cache. CalledProcessError where the demo fails."""
    if options.warm_only:
        return Result({"warm": once({})})
    with tempfile.TemporaryDirectory(prefix="fh-demo-") as cache:
        place = {"FREEHOLD_CACHE": cache}
        return Result({"cold": once(place), "warm": once(place)})


def once(environment: dict[str, str]) -> float:
    """Seconds of one demo; taken down again whatever happens."""
    demo = [sys.executable, str(REPO / "scripts" / "demo.py")]
    env = {**os.environ, **environment}
    started = time.monotonic()
    try:
        subprocess.run([*demo, "up"], env=env, cwd=REPO, check=True)
        return time.monotonic() - started
    finally:
        subprocess.run([*demo, "down"], env=env, cwd=REPO, check=True)
