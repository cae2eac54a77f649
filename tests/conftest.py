"""Fixtures of all tests: real hosts in network namespaces, and what decides whether they can run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from freehold.console import Console
from freehold.environment import which
from freehold.process import Argument, Completed, LocalRunner
from tests.rig import Host, HostSpec, Rig, missing

HOSTS = pytest.StashKey[tuple[Host, ...]]()


def required(kind: str) -> bool:
    """Whether tests of this kind must run: `FREEHOLD_REQUIRE=unit,integration,e2e`."""
    return kind in os.environ.get("FREEHOLD_REQUIRE", "").split(",")


def cannot_run(kind: str, reason: str) -> NoReturn:
    """End a test that lacks something: it fails where its kind must run, and is skipped elsewhere."""
    if required(kind):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_configure() -> None:
    """Ctrl-C reaches the programs that tests start, also where a script runs the tests with `&`.

    And no example of hypothesis has to be quick, as the machine may be busy; nor is it a new one each time,
    so that what is found is about the change at hand. `FREEHOLD_EXPLORE=1` has it look further.
    """
    settings.register_profile(
        "patient",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize="FREEHOLD_EXPLORE" not in os.environ,
    )
    settings.load_profile("patient")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder decides the marker, so that `-m "not e2e"` needs no care in each file."""
    for item in items:
        for kind in ("integration", "e2e"):
            if kind in item.path.parts:
                item.add_marker(kind)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.needs("sfdisk", "zstd")`: the programs without which a test cannot run."""
    names = [name for mark in item.iter_markers("needs") for name in mark.args]
    lacking = [name for name in names if which(name) is None]
    if lacking:
        kind = item.path.relative_to(Path(__file__).parent).parts[0]
        cannot_run(kind, f"not installed: {', '.join(lacking)}")


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """Two prepared Debian 12 hosts, `web-1` and `web-2`, booted once for all tests."""
    reasons = missing()
    if reasons:
        cannot_run("integration", "no hosts in namespaces here: " + "; ".join(reasons))
    with Rig(runner=LocalRunner(), console=Console(quiet=True)) as made:
        made.boot(HostSpec("web-1"), HostSpec("web-2"))
        yield made


@pytest.fixture
def hosts(rig: Rig, request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host]]:
    """`web-1` and `web-2` as after their first boot, whatever an earlier test did to them."""
    pair = (rig["web-1"], rig["web-2"])
    request.node.stash[HOSTS] = pair
    reset(*pair)
    yield pair
    reset(*pair)


def reset(*hosts: Host, images: bool = False) -> None:
    """Hosts as after their first boot, side by side."""
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        for _ in pool.map(lambda host: host.reset(images=images), hosts):
            pass


@pytest.fixture(scope="session")
def trixie_host(rig: Rig) -> Host:
    """`web-13`, a prepared Debian 13 host in the same rig."""
    return rig.boot(HostSpec("web-13", "trixie"))[0]


@pytest.fixture
def trixie(trixie_host: Host, request: pytest.FixtureRequest) -> Iterator[Host]:
    """The Debian 13 host as after its first boot."""
    request.node.stash[HOSTS] = (trixie_host,)
    trixie_host.reset()
    yield trixie_host
    trixie_host.reset()


@dataclass(frozen=True)
class Control:
    """The operator in a working directory of the test's own."""

    rig: Rig
    directory: Path

    def run(
        self,
        *argv: Argument,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout: float = 120,
        check: bool = True,
    ) -> Completed:
        """Run a program there."""
        return self.rig.control_run(
            argv, cwd=self.directory, env=env, stdin=stdin, timeout=timeout, check=check
        )

    def freehold(self, *words: str, timeout: float = 120, check: bool = True) -> Completed:
        """Run the command line of this checkout."""
        return self.run(program("freehold"), *words, timeout=timeout, check=check)


def program(name: str) -> Path:
    """A program of the virtual environment that runs the tests."""
    return Path(sys.executable).parent / name


@pytest.fixture
def control(rig: Rig, tmp_path: Path) -> Control:
    """The operator's place: programs run in the operator's namespace, with its keys and names."""
    return Control(rig, tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its hosts said last."""
    report = yield
    if report.when == "call" and report.failed:
        for host in item.stash.get(HOSTS, ()):
            report.sections.append((f"{host.name}: journal", _last_words(host)))
    return report


def _last_words(host: Host) -> str:
    try:
        return host.journal("--lines=30")
    except Exception as exc:
        return "\n".join((f"no journal: {exc}", *host.console_tail(20)))
