"""The main job end to end, as a newcomer would do it: every stage runs the `freehold` command itself.

    scripts/demo.py up      image, lab, checks, deploy, load, deploy, rollback, a broken version
    scripts/demo.py down    takes all of it away

The project is a copy of examples/hello in Freehold's state directory; its machines stay up until
`down`, so that you can look around.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployer.load import Load, LoadPlan, LoadReport
from deployer.load.plan import Target, parse_target
from freehold.console import Console, duration
from freehold.errors import FreeholdError
from freehold.paths import state_dir
from lab.state import load_state

REPO = Path(__file__).parents[1]
FREEHOLD = REPO / ".venv" / "bin" / "freehold"
PROJECT = state_dir() / "demo" / "hello"
SUITE = os.environ.get("DEMO_SUITE", "trixie")
RATE = 5.0
# An emulated machine that starts a container may take its time for an answer; lost is what never comes.
PATIENCE = 60.0


@dataclass
class Demo:
    """The stages, how long each took, and what was deployed."""

    console: Console
    times: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Announce a stage and remember how long it took."""
        self.console.info(f"\n{self.console.paint('━━', 'blue')} {self.console.paint(title, 'bold')}")
        started = time.monotonic()
        yield
        self.times.append((title, time.monotonic() - started))

    def freehold(self, *words: str, expect: int = 0, quiet: bool = False) -> str:
        """Run `freehold` in the project, showing command and output; return its standard output."""
        shown = " ".join(words)
        self.console.info(self.console.paint(f"$ freehold {shown}", "cyan"))
        done = subprocess.run(
            [FREEHOLD, *words], cwd=PROJECT, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        if not quiet and done.stdout:
            self.console.print(done.stdout.rstrip())
        if done.returncode != expect:
            raise FreeholdError(f"`freehold {shown}` ended with exit code {done.returncode}, not {expect}")
        return done.stdout

    def git(self, *words: str) -> None:
        """Run git in the project."""
        identity = ["-c", "user.name=Freehold demo", "-c", "user.email=demo@example.invalid"]
        subprocess.run(["git", *identity, *words], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)

    def make_project(self) -> None:
        """A fresh copy of the example, under git, as `freehold deploy` builds what is committed."""
        if PROJECT.exists():
            shutil.rmtree(PROJECT)
        shutil.copytree(REPO / "examples" / "hello", PROJECT)
        (PROJECT / "config" / "lab.yml").write_text(f"suite: {SUITE}\n")
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "v1")

    def commit(self, version: str, path: str, old: str, new: str) -> None:
        """Commit a one-line change."""
        file = PROJECT / path
        text = file.read_text()
        if old not in text:
            raise FreeholdError(f"{path} has no {old!r} to change")
        file.write_text(text.replace(old, new))
        self.git("commit", "-q", "-a", "-m", version)


def up(console: Console) -> int:
    """Every stage; exit code 1 when a request failed on the way."""
    demo = Demo(console)
    started = time.monotonic()
    demo.make_project()
    failed: list[BaseException] = []

    def base_image() -> None:
        try:
            demo.freehold("image", "base", "hello-base", "--packages", "python3", "-q", quiet=True)
        except BaseException as exc:
            failed.append(exc)

    with demo.stage(f"A golden image ({SUITE}): kernel, Docker, proxy, cloud-init"):
        demo.freehold("image", "build", "--suite", SUITE, quiet=True)
    # The application's base image is made while the machines boot.
    side = threading.Thread(target=base_image)
    side.start()
    with demo.stage("A lab of two machines, each with a seed of its own"):
        demo.freehold("lab", "up")
        side.join()
        if failed:
            raise failed[0]
    with demo.stage("Both hosts proven by testinfra"):
        demo.freehold("server", "check", "--lab")
    with demo.stage("Version 1: setup and first deploy"):
        demo.freehold("setup", "--lab")
    state = load_state("hello")
    targets = [
        parse_target(f"http://{machine.address}:{machine.http_port}", name=machine.host, host="hello.test")
        for machine in state.machines
    ]
    with Load(
        LoadPlan(targets=targets, rate=RATE, timeout=PATIENCE), on_failure=lambda f: console.warn(str(f))
    ) as load:
        time.sleep(2)
        with demo.stage("Version 2, a one-line change, under load"):
            demo.commit("v2", "app/version.py", '"v1"', '"v2"')
            demo.freehold("deploy", "--lab")
        with demo.stage("Back to version 1, under load"):
            demo.freehold("rollback", "--lab")
        with demo.stage("Version 3 is broken: it is refused, and version 1 goes on"):
            demo.commit("v3", "Dockerfile", "ARG BROKEN=0", "ARG BROKEN=1")
            demo.freehold("deploy", "--lab", expect=1)
        time.sleep(1)
        report = load.stop()
    with demo.stage("Looking inside"):
        demo.freehold("app", "details", "--lab")
        demo.freehold("app", "logs", "--lab", "-n", "3")
        demo.freehold("audit", "--lab", "-n", "5")
    return summary(demo, report, time.monotonic() - started, targets)


def serving(target: Target) -> str:
    """What a target answers for `/`."""
    connection = http.client.HTTPConnection(target.address, target.port, timeout=30)
    connection.request("GET", "/", headers={"Host": "hello.test"})
    return connection.getresponse().read().decode(errors="replace")


def summary(demo: Demo, report: LoadReport, total: float, targets: Sequence[Target]) -> int:
    """Print the result; 1 when requests failed or the wrong version serves."""
    console = demo.console
    console.info("")
    console.table(["stage", "time"], [(title, duration(seconds)) for title, seconds in demo.times])
    console.print(f"\ntotal            {duration(total)}")
    console.print(f"requests served  {report.served}")
    console.print(f"requests failed  {report.failed}")
    console.print(f"versions seen    {json.dumps(dict(report.versions))}")
    console.print("\nLook around:")
    console.print(f"  cd {PROJECT}")
    for target in targets:
        place = f"http://{target.address}:{target.port}/"
        console.print(f"  curl -H 'Host: hello.test' {place}     # {target.name}")
    console.print(f"  {FREEHOLD} app exec --lab -i --reuse sh")
    console.print(f"  {FREEHOLD} lab ssh web-1")
    console.print("Take it down: make demo-down")
    if report.failed:
        console.warn(f"{report.failed} requests failed")
        return 1
    wrong = [target.name for target in targets if "v1" not in serving(target)]
    if wrong:
        console.warn(f"version 1 should serve, but does not on {', '.join(wrong)}")
    return int(bool(wrong))


def down(console: Console) -> int:
    """Remove the lab and the project."""
    if PROJECT.exists():
        Demo(console).freehold("lab", "down")
        shutil.rmtree(PROJECT.parent)
    console.success("nothing is left of the demo; built images stay in the cache for the next time")
    return 0


def main() -> int:
    """`up` or `down`."""
    console = Console()
    commands = {"up": up, "down": down}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        console.warn("usage: demo.py up|down")
        return 2
    try:
        return commands[sys.argv[1]](console)
    except FreeholdError as exc:
        console.error(exc)
        return 1
    except KeyboardInterrupt:
        console.warn("interrupted; `make demo-down` removes what is there")
        return 130


if __name__ == "__main__":
    sys.exit(main())
