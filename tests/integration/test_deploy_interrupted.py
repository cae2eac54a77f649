"""A deployer that is killed, stopped, or loses a host half-way: nothing of it may be seen by a visitor."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold.process import Started
from tests.conftest import Control, program
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

# Of a command that was killed: with a shell above it, and without.
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    made.deploy("v1")
    return made


@contextmanager
def held(host: Host, lock: str) -> Iterator[None]:
    """Another program holds one of the host's locks: a script that needs it stands still there."""
    path = f"/run/lock/freehold/{lock}"
    unit = f"holder-{Path(lock).stem}"
    host.exec(
        f"touch {path}; chown root:freehold {path}; chmod 664 {path}; systemd-run --quiet --unit={unit} "
        f"flock {path} sleep infinity; until ! flock --nonblock {path} true; do sleep 0.05; done"
    )
    try:
        yield
    finally:
        release(host, lock)


def release(host: Host, lock: str) -> None:
    """Let go of a lock that is `held`."""
    host.exec(f"systemctl stop holder-{Path(lock).stem}", check=False)


def kill(deploy: Started, sign: signal.Signals) -> int:
    """Signal the command itself, not the programs that lead into its namespace."""
    os.kill(command_pid(deploy.pid), sign)
    return deploy.wait(180)


def command_pid(pid: int) -> int:
    """The deepest descendant: `enter` execs its way to Python, with a shell above that binds /etc/hosts."""
    while True:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
        if not found:
            return pid
        pid = int(found[0])


def free(project: Project) -> bool:
    return project.freehold("lock", "status").stdout.strip() == "free"


def slow(project: Project) -> None:
    """Version 2 waits for its health for a minute."""
    project.config["deploy_timeout"] = 60
    project.save()
    project.image("v2", "unhealthy")


def impatient(project: Project) -> None:
    """A host that is silent for twelve seconds counts as lost, in place of the usual twenty."""
    file = project.directory / "ssh_config"
    file.write_text("Host *\nConnectTimeout 5\nServerAliveInterval 1\nServerAliveCountMax 12\n")
    project.config["ssh"]["config"] = [str(file), str(project.rig.home / ".ssh" / "config")]
    project.save()


def in_prepare(project: Project) -> bool:
    return all("shop-web-v2" in project.containers(host) for host in project.hosts)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_prepare_puts_everything_back(project: Project, sign: signal.Signals) -> None:
    before = project.state()
    slow(project)
    with project.traffic(websocket=False) as traffic:
        with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
            project.until(lambda: in_prepare(project), "prepare")
            assert kill(deploy, sign) == 128 + sign
        traffic.seen(10)
    project.same_as(before)
    assert free(project)


def test_killed_in_prepare(project: Project) -> None:
    slow(project)
    with project.traffic(websocket=False) as traffic:
        with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
            project.until(lambda: in_prepare(project), "prepare")
            assert kill(deploy, signal.SIGKILL) in KILLED, project.printed
        assert project.serving() == ("v1", "v1")
        project.until(lambda: free(project), "a free lock")
        # The same version, in a shape that works, over what the dead one left.
        project.deploy("v2")
        traffic.seen(10)
    assert project.settled("v2")
    for host in project.hosts:
        assert set(project.containers(host)) == {"shop-web-v1", "shop-web-v2"}


def test_the_same_version_killed_in_prepare(project: Project) -> None:
    """Another environment, and an image that never gets ready: what served is kept, and comes back."""
    kept = "docker inspect --format '{{.Id}}' shop-web-v1"
    served = [host.exec(kept).stdout for host in project.hosts]
    project.config |= {"deploy_timeout": 60, "env": {"clear": {"GREETING": "never"}, "secret": ["TOKEN"]}}
    project.save()
    for host in project.hosts:
        host.exec("docker image tag freehold/shop:v1 freehold/shop:served")
    project.image("v1", "unhealthy")
    with project.traffic(websocket=False) as traffic:
        with project.start("deploy", "--skip-push", "--version", "v1") as deploy:
            project.until(
                lambda: all(len(project.containers(host)) == 2 for host in project.hosts), "prepare"
            )
            assert kill(deploy, signal.SIGKILL) in KILLED, project.printed
        project.until(lambda: free(project), "a free lock")
        for host in json.loads(project.freehold("status", "--json").stdout):
            assert [one["container"] for one in host["containers"] if one["serves"]] == ["shop-web-v1"]
        project.deploy("v2")
        assert [host.exec(kept).stdout for host in project.hosts] == served
        for host in project.hosts:
            assert set(project.containers(host)) == {"shop-web-v1", "shop-web-v2"}
        assert project.environment(project.hosts[0])["GREETING"] == "never"
        project.rollback()
        traffic.seen(10)
    assert project.settled("v1")
    for host in project.hosts:
        assert project.environment(host)["GREETING"] == "hello"
        assert "GREETING=hello" in host.read("/var/lib/freehold/apps/shop/versions/v1/web.env")
        host.exec("docker image tag freehold/shop:served freehold/shop:v1")


def test_killed_between_the_commits_of_two_hosts(project: Project) -> None:
    """One host has switched and remembers it, the other has switched and does not; then v3 comes."""
    first, second = project.hosts
    project.image("v2")
    with project.traffic(websocket=False) as traffic:
        with held(second, "proxy.lock"):
            with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
                history = "cat /var/lib/freehold/apps/shop/history"
                project.until(lambda: "v2" in first.exec(history).stdout, "the first commit")
                project.until(lambda: project.serving()[1] == "v2", "the second switch")
                assert kill(deploy, signal.SIGKILL) in KILLED, project.printed
            assert "v2" not in second.exec(history).stdout
        project.until(lambda: free(project), "a free lock")
        project.deploy("v3")
        traffic.seen(10)
    assert project.settled("v3")


def test_a_signal_between_the_commits_of_two_hosts(project: Project) -> None:
    second = project.hosts[1]
    before = project.state()
    project.image("v2")
    with project.traffic(websocket=False) as traffic:
        with (
            held(second, "proxy.lock"),
            project.start("deploy", "--skip-push", "--version", "v2") as deploy,
        ):
            project.until(lambda: project.serving() == ("v2", "v2"), "both switches")
            os.kill(command_pid(deploy.pid), signal.SIGTERM)
            project.until(lambda: project.serving()[0] == "v1", "the first host goes back")
            release(second, "proxy.lock")
            assert deploy.wait(180) == 128 + signal.SIGTERM
        traffic.seen(10)
    project.same_as(before)


def test_a_host_that_vanishes_in_prepare(project: Project) -> None:
    first, second = project.hosts
    before = project.state()
    impatient(project)
    slow(project)
    project.image("v2", "ok", first)
    with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
        project.until(lambda: in_prepare(project), "prepare")
        second.cut()
        assert deploy.wait(200) == 1
    said = " ".join(project.printed.split())
    assert re.search(r"error: web-2: .*the connection was lost", said), said
    assert project.ask(first).text.strip() == "v1"
    assert list(project.containers(first)) == ["shop-web-v1"]
    second.heal()
    project.until(lambda: project.answered() == ("v1", "v1"), "the link")
    assert project.state()["web-1"] == before["web-1"]
    project.deploy("v2")
    assert project.settled("v2")


def test_a_host_that_vanishes_in_commit(project: Project) -> None:
    """It has the deploy's lock too. The other host has committed already and goes back; the lost one is put
    right by the next deploy, which finds the lock free."""
    first, second = project.hosts
    impatient(project)
    project.image("v2")
    with held(first, "proxy.lock"):
        with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
            project.until(lambda: project.serving() == ("v2", "v2"), "both switches")
            first.cut()
            assert deploy.wait(200) == 1
        assert project.ask(second).text.strip() == "v1"
    said = " ".join(project.printed.split())
    # Lock and commit go over the same line; whichever is noticed first ends the deploy.
    assert re.search(r"error: web-1: (the deploy lock was lost|.*the connection was lost)", said), said
    first.heal()
    project.until(lambda: project.answered()[:1] in (("v1",), ("v2",)), "the link")
    # At once where the host had something to say to the dead deployer; else after a minute without a beat.
    project.until(lambda: free(project), "a free lock")
    project.deploy("v3")
    assert project.settled("v3")


def test_one_deploy_at_a_time(project: Project) -> None:
    project.image("v2")
    project.image("v3")
    other, begun, go = (project.directory / name for name in ("other", "begun", "go"))
    hold_up(project, "v2", begun, go)
    with project.start("deploy", "--skip-push", "--version", "v2") as first:
        project.until(begun.exists, "the first deploy")
        refused = squeezed(project.send("v3", expect=1))
        assert "web-1: locked by root@" in refused and "deploy v2" in refused, refused
        assert "--lock-wait" in refused
        # Also with other hosts chosen: the lock belongs to the service.
        refused = squeezed(project.send("v3", "-h", "web-2", expect=1))
        assert "web-1: locked by root@" in refused, refused
        waiting = (program("freehold"), "deploy", "--skip-push", "--version", "v3", "--lock-wait=300")
        with project.rig.control_start(waiting, cwd=project.directory, stdout=other) as second:
            project.until(lambda: "locked by root@" in other.read_text(), "the waiting")
            go.touch()
            assert first.wait(180) == 0, project.printed
            assert second.wait(180) == 0, other.read_text()
    assert project.settled("v3")


def hold_up(project: Project, version: str, begun: Path, go: Path) -> None:
    """A deploy of a version makes the file `begun`, and goes on when there is the file `go`."""
    hook = project.directory / ".freehold" / "hooks" / "pre-app-boot"
    hook.parent.mkdir(parents=True)
    hook.write_text(
        f"#!/bin/sh\n[ $KAMAL_VERSION = {version} ] || exit 0\n"
        f"touch {begun}\nuntil [ -e {go} ]; do sleep 0.1; done\n"
    )
    hook.chmod(0o755)


@contextmanager
def waiting(project: Project, *words: str) -> Iterator[Started]:
    """A command that waits for a deploy of version 3, which goes on once the block has begun."""
    other, begun, go = (project.directory / name for name in ("other", "begun", "go"))
    hold_up(project, "v3", begun, go)
    project.image("v3")
    with project.start("deploy", "--skip-push", "--version", "v3") as first:
        project.until(begun.exists, "the first deploy")
        with project.rig.control_start(
            (program("freehold"), *words, "--lock-wait=300"), cwd=project.directory, stdout=other
        ) as second:
            project.until(lambda: "locked by root@" in other.read_text(), "the waiting")
            go.touch()
            assert first.wait(180) == 0, project.printed
            yield second


def test_what_is_booted_is_what_serves_by_then(project: Project) -> None:
    with waiting(project, "app", "boot") as boot:
        assert boot.wait(60) == 0, (project.directory / "other").read_text()
    assert project.settled("v3")


def test_what_is_not_tried_any_more_is_not_promoted(project: Project) -> None:
    project.image("v2")
    project.freehold("canary", "50%", "--skip-push", "--version", "v2")
    with waiting(project, "canary", "promote") as promote:
        assert promote.wait(60) == 2
    said = " ".join((project.directory / "other").read_text().split())
    assert "v2 is not being tried any more" in said, said
    assert project.settled("v3")


def test_a_lock_that_somebody_took(project: Project) -> None:
    project.freehold("lock", "acquire", "-m", "the database moves", "--lock-wait=5")
    again = squeezed(project.freehold("lock", "acquire", "-m", "mine", "--lock-wait=5", expect=1))
    assert "the database moves" in again and "lock release" in again, again
    refused = squeezed(project.send("v1", expect=1))
    assert "the database moves" in refused and "lock release" in refused, refused
    project.freehold("lock", "release")
    project.send("v1")
