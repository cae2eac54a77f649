"""A deploy of a one-line change to two hosts, against what no deploy can do without.

The floor is measured in the same run on the same hosts: building the changed image; starting a
container of it and waiting until it is healthy, on both hosts at once; and as many network round
trips as opening one SSH connection and running two commands take.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.project import FREEHOLD, Project
from freehold.console import Console
from freehold.paths import cache_dir
from freehold.process import LocalRunner
from tests.rig import Host, HostSpec, Rig

MAX_EXECS = 6
MAX_BYTES = 1.05
"""Of the changed layer's bytes."""

# Polls as fast as it can, so that the floor holds no waiting of its own.
START = """\
set -eu
image=$(docker image ls --format '{{.Repository}}:{{.Tag}}' freehold/hello | head -n 1)
id=$(docker run --detach --network freehold --env SECRET_KEY=x "$image")
ip=$(docker inspect --format '{{.NetworkSettings.Networks.freehold.IPAddress}}' "$id")
until curl --silent --fail --max-time 2 --output /dev/null "http://$ip/up"; do sleep 0.02; done
"""


@dataclass(frozen=True)
class Result:
    """Medians over all rounds, in seconds; `execs` and `received` bytes per host are maxima.

    `layer` is the size of the changed layer as a tar archive, in bytes; `session` is what a host receives
    where there is no layer to send.
    """

    rounds: int
    latency_ms: float
    deploy: float
    build: float
    start: float
    network: float
    execs: int
    received: int
    session: int
    layer: int

    @property
    def floor(self) -> float:
        """What no deploy can do without."""
        return self.build + self.start + self.network

    @property
    def ratio(self) -> float:
        """How many times the floor a deploy takes."""
        return self.deploy / self.floor

    @property
    def good(self) -> bool:
        """Whether the limits on SSH commands and on bytes are kept."""
        return self.execs <= MAX_EXECS and self.received - self.session <= MAX_BYTES * self.layer

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        return {**vars(self), "floor": self.floor, "ratio": self.ratio}

    def as_text(self) -> str:
        """For people."""
        return "\n".join(
            (
                f"deploy of a one-line change to 2 hosts, {self.rounds} rounds, "
                f"{self.latency_ms:g} ms round trip added",
                f"  deploy             {self.deploy:6.2f} s",
                f"  floor              {self.floor:6.2f} s   build {self.build:.2f}, "
                f"start and health {self.start:.2f}, network {self.network:.2f}",
                f"  ratio              {self.ratio:6.2f}",
                f"  SSH commands       {self.execs:6d}     per host, at most {MAX_EXECS}",
                f"  bytes to a host    {self.received:6d}     on the wire, {self.session} without the image",
                f"  changed layer      {self.layer:6d}     bytes; its image may cost {MAX_BYTES:.0%} of that",
            )
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.0, help="round trip to add, in ms")


def run(options: argparse.Namespace) -> Result:
    """Boot two hosts, deploy once, then measure."""
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="fh-bench-") as folder,
        Rig(runner=LocalRunner(), console=console) as rig,
    ):
        hosts = rig.boot(HostSpec("web-1"), HostSpec("web-2"))
        project = Project.make(Path(folder) / "hello")
        bench = Bench(rig, hosts, project, console)
        bench.prepare()
        with rig.latency(options.latency):
            return bench.measure(options.rounds, options.latency)


class Bench:
    """Two hosts and a project."""

    def __init__(self, rig: Rig, hosts: tuple[Host, ...], project: Project, console: Console) -> None:
        self.rig = rig
        self.hosts = hosts
        self.project = project
        self.console = console

    def freehold(self, *words: str) -> dict[str, Any]:
        """Run the real command in the operator's namespace; its JSON result."""
        # The images and layers of this computer, not of the operator's new home.
        env = {"FREEHOLD_CACHE": str(cache_dir())}
        done = self.rig.control_run((FREEHOLD, *words, "--json"), cwd=self.project.root, timeout=600, env=env)
        found = json.loads(done.stdout or "{}")
        assert isinstance(found, dict)
        return found

    def prepare(self) -> None:
        """The base image, and the first deploy."""
        with self.console.step("first deploy"):
            # The packages come from a mirror, which the hosts' little internet does not have.
            subprocess.run(
                (FREEHOLD, "image", "base", "hello-base", "--packages", "python3", "--quiet"),
                check=True,
                stdout=subprocess.DEVNULL,
            )
            self.freehold("deploy")

    def measure(self, rounds: int, latency: float) -> Result:
        """All rounds; deploy and floor take turns, so that a busy machine slows both."""
        deploys, starts, networks, builds = [], [], [], []
        execs, received, session, layer = 0, 0, 0, 0
        for number in range(rounds):
            self.project.commit(number + 2)
            before = [self._received(host) for host in self.hosts]
            started = time.monotonic()
            result = self.freehold("deploy")
            deploys.append(time.monotonic() - started)
            execs = max(execs, *result["execs"].values())
            received = max(
                received, *(self._received(h) - b for h, b in zip(self.hosts, before, strict=True))
            )
            if not number:
                # The same again: all but the image travels.
                before = [self._received(host) for host in self.hosts]
                self.freehold("deploy")
                session = max(self._received(h) - b for h, b in zip(self.hosts, before, strict=True))
            starts.append(timed(self._start))
            networks.append(timed(self._connect))
            seconds, layer = self._build(number)
            builds.append(seconds)
            self.console.info(f"  round {number + 1}: {deploys[-1]:.2f} s")
        return Result(
            rounds=rounds,
            latency_ms=latency,
            deploy=statistics.median(deploys),
            build=statistics.median(builds),
            start=statistics.median(starts),
            network=statistics.median(networks),
            execs=execs,
            received=received,
            session=session,
            layer=layer,
        )

    def _received(self, host: Host) -> int:
        return int(host.read("/sys/class/net/eth0/statistics/rx_bytes"))

    def _start(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: host.exec(START), self.hosts))

    def _connect(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda h: self.rig.control_run(("ssh", h.name, "true"), timeout=60), self.hosts))

    def _build(self, number: int) -> tuple[float, int]:
        """Build another one-line change with the engine that is at hand: seconds, bytes of the last layer."""
        from deployer.engine import local_engine

        self.project.commit(1000 + number)
        runner = LocalRunner()
        with local_engine(runner=runner, console=Console(quiet=True)) as engine:
            started = time.monotonic()
            runner.run(
                ("docker", "build", "--quiet", "--tag", "freehold-benchmark", "."),
                cwd=self.project.root,
                env={**engine.env, "DOCKER_BUILDKIT": "0"},
                timeout=300,
            )
            took = time.monotonic() - started
            saved = Path(self.project.root).with_name("saved.tar")
            runner.run(
                ("docker", "save", "--output", saved, "freehold-benchmark"), env=engine.env, timeout=300
            )
            with tarfile.open(saved) as archive:
                manifest = archive.extractfile("manifest.json")
                assert manifest is not None
                name = json.load(manifest)[0]["Layers"][-1]
                return took, archive.getmember(name).size


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started
