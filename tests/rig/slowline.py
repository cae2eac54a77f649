"""The line to the hosts made slower: where the kernel has no netem, frames are relayed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from freehold.process import Runner, Started
from tests.rig import delay, netns
from tests.rig.errors import RigError

# The operator's end in the hub, and the pair of ends that stands in for it in the bridge.
OPERATOR, NEAR, FAR = "control", "wire0", "wire1"


@contextmanager
def slowed(
    runner: Runner, hub: netns.Namespace, control: netns.Namespace, directory: Path, milliseconds: float
) -> Iterator[None]:
    """So much more round-trip time while the block runs; `directory` is the rig's own."""
    netns.batch(
        runner,
        [
            f"link add {NEAR} type veth peer name {FAR}",
            f"link set {OPERATOR} nomaster",
            f"link set {FAR} master {netns.BRIDGE}",
            f"link set {NEAR} up",
            f"link set {FAR} up",
        ],
        hub,
    )
    netns.call(hub, delay.offloads_off, FAR)
    netns.call(control, delay.offloads_off, "eth0")
    argv = (sys.executable, "-P", delay.__file__, OPERATOR, NEAR, str(milliseconds / 2))
    ready = directory / "delay.ready"
    ready.unlink(missing_ok=True)
    try:
        with runner.start(("nsenter", f"--net={hub.path}", *argv), stdout=ready) as process:
            _await(lambda: ready.stat().st_size > 0, process, "the delay line")
            yield
    finally:
        netns.batch(runner, [f"link del {NEAR}", f"link set {OPERATOR} master {netns.BRIDGE}"], hub)


def _await(condition: Callable[[], bool], process: Started, what: str, deadline: float = 30) -> None:
    end = time.monotonic() + deadline
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise RigError(f"{what} did not start (exit code {process.poll()})")
        time.sleep(0.01)
