"""A deployer that is killed where it hurts: while images travel, while the fleet goes back, in a trial."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import Control
from tests.integration.app.project import Project
from tests.integration.test_deploy_interrupted import KILLED, command_pid, free, held, kill, slow
from tests.rig import Host, Rig

# Before the real one in the search path: it takes nothing of what arrives until it may.
STUCK = """\
#!/bin/sh
if [ "$1" = load ]; then
    until [ -e /tmp/go ]; do sleep 0.1; done
fi
exec /usr/bin/docker "$@"
"""


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    made.deploy("v1")
    return made


@contextmanager
def stuck(host: Host) -> Iterator[None]:
    """The engine of a host takes an image in once the block has ended."""
    host.exec("rm -f /tmp/go")
    host.write("/usr/local/bin/docker", STUCK, 0o755)
    try:
        yield
    finally:
        host.exec("touch /tmp/go; rm /usr/local/bin/docker")


def test_killed_while_an_image_travels(project: Project) -> None:
    """What has arrived is of use to the next one, and nothing of it stays behind."""
    second = project.hosts[1]
    # The first host builds and has it, the second is sent a layer that no buffer on the way can hold.
    (project.directory / "large").write_bytes(os.urandom(24_000_000))
    (project.directory / "Dockerfile").write_text(
        "FROM freehold/shop:v1\nCOPY large /large\nENV APP_VERSION=v2\n"
    )
    project.config["builder"] = {"context": ".", "remote": "ssh://web-1", "local": False}
    project.save()
    again = ("deploy", "--version", "v2")
    have = "docker images --format '{{.Repository}}:{{.Tag}}'"
    arrived = "find /var/lib/freehold/spool -type f -printf '%s\\n' 2>/dev/null || true"
    with project.traffic(websocket=False) as traffic:
        with stuck(second):
            with project.start(*again) as deploy:

                def built() -> bool:
                    assert deploy.poll() is None, project.printed
                    return "freehold/shop:v2" in project.hosts[0].exec(have).stdout

                def half_way() -> bool:
                    assert deploy.poll() is None, project.printed
                    return sum(map(int, second.exec(arrived).stdout.split())) > 0

                project.until(built, "the image")
                project.until(half_way, "a part of the image")
                assert kill(deploy, signal.SIGKILL) in KILLED, project.printed
            assert project.serving() == ("v1", "v1")
            for host in project.hosts:
                assert set(project.containers(host)) == {"shop-web-v1"}
        project.until(lambda: free(project), "a free lock")
        project.freehold(*again, timeout=400)
        traffic.seen(10)
    assert project.settled("v2")
    # The first host has the image by now, whatever of it had been sent there.
    assert second.exec(arrived).stdout == ""
    for host in project.hosts:
        assert set(project.containers(host)) == {"shop-web-v1", "shop-web-v2"}


def test_killed_while_the_fleet_goes_back(project: Project) -> None:
    """The one host is back by then, and the other one waits to go; the same command again converges."""
    second = project.hosts[1]
    project.image("v2")
    with project.traffic(websocket=False) as traffic:
        with (
            held(second, "proxy.lock"),
            project.start("deploy", "--skip-push", "--version", "v2") as deploy,
        ):
            project.until(lambda: project.serving() == ("v2", "v2"), "both switches")
            os.kill(command_pid(deploy.pid), signal.SIGTERM)
            project.until(lambda: project.serving()[0] == "v1", "the first host goes back")
            assert kill(deploy, signal.SIGKILL) in KILLED, project.printed
        project.until(lambda: free(project), "a free lock")
        # What is said of the hosts is what visitors get.
        rows = json.loads(project.freehold("status", "--json").stdout)
        assert tuple(row["version"] for row in rows) == project.serving()
        project.send("v2")
        traffic.seen(10)
    assert project.settled("v2")
    for host in project.hosts:
        assert set(project.containers(host)) == {"shop-web-v1", "shop-web-v2"}


def test_killed_in_a_trial(project: Project) -> None:
    """While it begins, then while visitors are shared out: what serves does so, and no trial is left."""
    second = project.hosts[1]
    before = project.state()
    trial = ("canary", "50%", "--skip-push", "--version", "v2")
    slow(project)
    with project.traffic(reloads=6 * len(project.hosts), websocket=False) as traffic:
        with project.start(*trial) as canary:
            project.until(
                lambda: all("shop-web-v2" in project.containers(host) for host in project.hosts), "prepare"
            )
            assert kill(canary, signal.SIGKILL) in KILLED, project.printed
        assert project.serving() == ("v1", "v1")
        project.until(lambda: free(project), "a free lock")

        project.image("v2")
        with held(second, "proxy.lock"), project.start(*trial) as canary:
            project.until(lambda: tries(project)[0] == "v2", "the first host's share")
            assert kill(canary, signal.SIGKILL) in KILLED, project.printed
        project.until(lambda: free(project), "a free lock")
        project.freehold(*trial)
        assert tries(project) == ("v2", "v2")
        for host in project.hosts:
            assert project.ask(host, headers={"Cookie": "freehold_split=canary"}).text.strip() == "v2"

        # Ended while half of it is ended.
        with held(second, "proxy.lock"), project.start("canary", "abort") as canary:
            project.until(lambda: tries(project)[0] == "", "the first host's end")
            assert kill(canary, signal.SIGKILL) in KILLED, project.printed
        project.until(lambda: free(project), "a free lock")
        if project.state() != before:
            project.freehold("canary", "abort")
        traffic.seen(10)
    project.same_as(before)


def tries(project: Project) -> tuple[str, ...]:
    """What each host tries."""
    found = {
        row["host"]: row["version"]
        for row in json.loads(project.freehold("canary", "status", "--json").stdout)
    }
    return tuple(found.get(host.name, "") for host in project.hosts)
