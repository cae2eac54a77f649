from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployer.load import Failure, Load, LoadPlan, LoadReport, Target
from deployer.load.plan import parse_target
from deployer.load.report import Served
from freehold.errors import UsageError

HELLO = Path(__file__).parents[4] / "examples" / "hello"


class Application:
    """The example application as a process on a free port of the loopback."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=HELLO,
            env={**os.environ, "PORT": "0", "SECRET_KEY": "x", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        found = re.search(r"listens on .*?(\d+)$", self.process.stdout.readline().strip())
        assert found
        self.port = int(found[1])
        # Nobody reads what it says later, and it must not wait for that.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    @property
    def target(self) -> Target:
        return Target("web-1", "127.0.0.1", self.port)


@pytest.fixture
def application() -> Iterator[Application]:
    running = Application()
    yield running
    running.process.kill()
    running.process.communicate()


def until(load: Load, condition: Callable[[LoadReport], bool]) -> None:
    """Wait for something that the load sees; the test's own deadline is generous."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if condition(load.report()):
            return
        time.sleep(0.05)
    raise AssertionError(load.report().as_data())


def test_all_kinds_of_load_are_served(application: Application) -> None:
    plan = LoadPlan((application.target,), rate=50, slow_every=10, slow_seconds=0.1)
    with Load(plan) as load:
        until(load, lambda r: {a.kind for a in r.answers} == {"kept", "fresh", "slow"} and r.messages >= 2)
    report = load.stop()
    assert report.failures == ()
    assert list(report.versions) == ["v1"]
    assert report.percentile(0.5) <= report.percentile(0.99)


def test_a_killed_server_is_seen(application: Application) -> None:
    seen: list[Failure] = []
    plan = LoadPlan((application.target,), rate=50, slow_every=0)
    with Load(plan, on_failure=seen.append) as load:
        until(load, lambda r: r.messages >= 1 and r.served > 5)
        application.process.send_signal(signal.SIGKILL)
        until(load, lambda r: {f.kind for f in r.failures} >= {"kept", "fresh", "websocket"})
        until(load, lambda r: any(f.cause.startswith("connect") for f in r.failures))
    report = load.stop()
    cut = [f.cause for f in report.failures if f.kind == "websocket" and "connect:" not in f.cause]
    assert cut and all(cause.startswith("websocket") for cause in cut)
    assert tuple(seen) == report.failures


def test_a_status_that_is_no_success_is_a_failure(application: Application) -> None:
    plan = LoadPlan((application.target,), rate=50, path="/none", slow_every=0, websocket=False)
    with Load(plan) as load:
        until(load, lambda r: r.failed > 3)
    assert load.stop().failures[0].cause == "status 404: not found"
    assert load.stop().served == 0


def test_the_application_finishes_its_work_before_it_leaves(application: Application) -> None:
    plan = LoadPlan((application.target,), rate=20, slow_every=1, slow_seconds=10.0, websocket=False)
    load = Load(plan)
    load.start()
    until(load, lambda report: report.served > 0)
    # No new ones: what a server has not yet accepted when it leaves is lost with its socket.
    ending = threading.Thread(target=load.stop)
    ending.start()
    time.sleep(2)
    before = load.report().served
    application.process.send_signal(signal.SIGTERM)
    application.process.wait(30)
    ending.join()
    assert load.report().served > before
    assert load.report().failures == ()


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2001:db8::1", "example.com"]
)
def test_nobody_else_is_loaded(address: str) -> None:
    with pytest.raises(UsageError):
        LoadPlan((Target("x", address),))


@pytest.mark.parametrize("url", ["https://127.0.0.1", "http://", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_bad_addresses(url: str) -> None:
    with pytest.raises(UsageError):
        parse_target(url)


def test_addresses() -> None:
    assert parse_target("http://127.0.0.2:8080", host="a.test").authority == "a.test"
    assert parse_target("http://[::1]:81").authority == "[::1]:81"
    assert parse_target("198.18.3.10").port == 80


def test_a_report_tells_which_version_answered_when() -> None:
    answers = [Served(float(n), "a", "kept", 0.01, "v1" if n < 5 else "v2") for n in range(10)]
    report = LoadReport(10.0, answers, (Failure(3.0, "a", "slow", "why"),))
    assert report.versions == {"v1": 5, "v2": 5}
    assert report.version_between("a", 0, 5) == {"v1"}
    assert report.version_between("b", 0, 5) == frozenset()
    assert report.as_data()["failures"] == ["    3.00 s  a  slow: why"]
