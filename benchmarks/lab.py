"""A lab of 1, 2 and 4 machines: until all let one in and are ready, back to a snapshot, beside other tools.

The same golden image, accelerator and sizes for all. Others run where they are installed and this is root;
they wait until SSH lets one in, and know nothing of Docker and the proxy, which are up when a lab is ready.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks import labpeers
from builder.image import Image, build_image, load_image
from builder.spec import ImageSpec, MiB
from cloudinit.keys import parse_public_key
from freehold.console import Console
from freehold.errors import FreeholdError
from freehold.paths import cache_dir
from freehold.process import LocalRunner
from lab.domain import domain_xml
from lab.kernel import unpacked
from lab.lab import Lab
from lab.machine import prepare
from lab.model import LabSpec, MachineSpec
from lab.moments import Moments
from lab.plan import domain_of
from lab.wire import Wire

COUNTS = (1, 2, 4)
MEMORY = 1000 * MiB
# Seconds.
RESET_LIMIT = 8.0
MACHINE_LIMIT = 1.0
SHARE_LIMIT = 0.7


@dataclass
class Result:
    """Seconds: `login`, `ready`, others' by number of machines; `reset` of two, `machine` for each start."""

    login: dict[int, float] = field(default_factory=dict)
    ready: dict[int, float] = field(default_factory=dict)
    others: dict[int, dict[str, float]] = field(default_factory=dict)
    reset: float = 0.0
    machine: float = 0.0

    @property
    def good(self) -> bool:
        """Whether every limit was kept."""
        shares = (self.login[count] / min(taken.values()) for count, taken in self.others.items() if taken)
        return (
            self.reset < RESET_LIMIT
            and self.machine < MACHINE_LIMIT
            and all(share <= SHARE_LIMIT for share in shares)
        )

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        return {
            "login": self.login,
            "ready": self.ready,
            "others": self.others,
            "reset": self.reset,
            "machine": self.machine,
            "limits": {"reset": RESET_LIMIT, "machine": MACHINE_LIMIT, "share": SHARE_LIMIT},
        }

    def as_text(self) -> str:
        """For people."""
        lines = []
        for count, taken in self.login.items():
            shares = [
                f", {tool} {beside:.0f} s, share {taken / beside:.2f}"
                for tool, beside in self.others.get(count, {}).items()
            ]
            ready = f"ready after {self.ready[count]:.0f} s"
            lines.append(f"{count} machines let one in after {taken:.0f} s ({ready}){''.join(shares)}")
        lines.append(f"back to a snapshot {self.reset:.1f} s (limit {RESET_LIMIT:g} s)")
        lines.append(f"disk, seed, definition and start {self.machine:.2f} s (limit {MACHINE_LIMIT:g} s)")
        return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="how many machines")
    parser.add_argument("--alone", action="store_true", help="without other tools")
    parser.add_argument("--peers", nargs="+", choices=labpeers.NEEDED, help="only these of the other tools")


def run(options: argparse.Namespace) -> Result:
    """Measure. FreeholdError where a lab does not come up."""
    image = build_image(ImageSpec(), runner=LocalRunner(), console=Console(quiet=True))
    tools = () if options.alone or os.geteuid() != 0 else labpeers.available(options.peers)
    result = Result()
    for count in options.counts:
        with own_place():
            _own(count, image, result)
        result.others[count] = {tool: labpeers.measure(tool, count, image, MEMORY // MiB) for tool in tools}
    return result


@contextmanager
def own_place() -> Iterator[None]:
    """State and sockets of labs in a directory that is removed."""
    names = ("FREEHOLD_STATE", "FREEHOLD_RUNTIME")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="fb") as place:
        os.environ.update({name: f"{place}/{name[9:].lower()}" for name in names})
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _own(count: int, image: Image, result: Result) -> None:
    machines = tuple(MachineSpec(f"web-{number}", memory=MEMORY) for number in range(1, count + 1))
    spec = LabSpec("bench", machines, image=image.directory, deadline=1800)
    lab = Lab("bench", runner=LocalRunner(), console=Console(quiet=True))
    over = threading.Event()
    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        logins = [pool.submit(_login, lab, machine.name, over) for machine in machines]
        try:
            with lab.running(spec):
                result.ready[count] = time.monotonic() - began
                result.login[count] = max(login.result() for login in logins) - began
                _more(count, lab, result)
        finally:
            over.set()


def _login(lab: Lab, machine: str, over: threading.Event) -> float:
    """When a machine lets one in, by the monotonic clock."""
    while not over.wait(0.3):
        with suppress(FreeholdError, OSError):
            if lab.exec(machine, ["true"], timeout=15, check=False).returncode == 0:
                return time.monotonic()
    return math.nan


def _more(count: int, lab: Lab, result: Result) -> None:
    if count <= 2:
        moments = Moments(lab)
        moments.take("clean")
        began = time.monotonic()
        moments.restore("clean")
        result.reset = time.monotonic() - began
        result.machine = _start(lab)


def _start(lab: Lab) -> float:
    """Seconds from nothing to a machine that runs its first instruction."""
    state = lab.state
    machine, image = state.machines[0], load_image(state.image)
    public = parse_public_key(state.key.with_name(f"{state.key.name}.pub").read_text())
    lab.stop([machine.name], force=True)
    (state.folder(machine) / "disk.qcow2").unlink()
    with lab.connected(state) as virt:
        virt.remove(machine.uuid)
        began = time.monotonic()
        prepare(state, machine, base=image.qcow2, user_key=public, runner=lab.runner)
        domain = domain_of(
            state,
            machine,
            image,
            kernel=unpacked(image.kernel, cache_dir() / "lab" / "kernels", lab.runner),
            socket=Wire(state.runtime).socket,
            reconnect=False,
        )
        virt.define(domain_xml(domain))
        virt.start(machine.uuid)
        return time.monotonic() - began
