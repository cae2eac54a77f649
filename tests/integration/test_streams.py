"""What is open at a switch and lasts: WebSockets that outlive deploys, up to a limit of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Control
from tests.integration.app.project import Project, squeezed
from tests.integration.app.talk import CLOSED, talk
from tests.integration.test_deploy_interrupted import KILLED, free
from tests.rig import Host, Rig

OPEN = "/var/lib/freehold/apps/shop/open"
HOURS = 7200


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    limited(made, HOURS)
    made.deploy("v1")
    return made


def limited(project: Project, seconds: int) -> None:
    project.config["proxy"]["stream_timeout"] = seconds
    project.save()


def policy(host: Host, version: str) -> str:
    """Whether Docker starts a container again."""
    form = "{{.HostConfig.RestartPolicy.Name}}"
    return host.exec(("docker", "inspect", "--format", form, f"shop-web-{version}")).stdout.strip()


def noted(host: Host) -> dict[str, str]:
    """What is noted of containers that go on, by their names."""
    listed = host.exec("docker ps --all --no-trunc --format '{{.ID}} {{.Names}}'").stdout
    names = dict(line.split() for line in listed.splitlines())
    found = host.exec(f"cd {OPEN} 2>/dev/null && grep -H . * || true").stdout
    lines = dict(line.split(":", 1) for line in found.splitlines())
    return {names.get(id_, id_): line for id_, line in lines.items() if id_ != "watch"}


def watchers(host: Host) -> str:
    """The processes that watch containers which go on."""
    return host.exec(f"pgrep -f '[b]ash {OPEN}/watch' || true").stdout


def command(pid: int) -> int:
    """The command that was started by this process, and whose own programs are below it."""
    for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split():
        if found := command(int(child)):
            return found
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        # A hook's own programs come and go.
        return 0
    return pid if b"deploy" in words and words[0].endswith(b"python") else 0


def ended(project: Project, host: Host, version: str) -> None:
    """Wait until a container has ended, and nothing of its limit is left."""
    project.until(
        lambda: project.containers(host)[f"shop-web-{version}"] == "exited", f"the end of {version}"
    )
    project.until(lambda: not watchers(host), "the end of what watched it")


def test_websockets_outlive_several_deploys_and_a_rollback(project: Project) -> None:
    first, second = project.hosts
    project.image("v2")
    project.image("v3")
    with talk(project, first) as one, project.traffic(websocket=False) as traffic:
        done = squeezed(project.send("v2"))
        assert "connections of web v1 are still open; it ends with them, at" in done
        assert one.open and one.version == "v1"
        assert project.containers(first) == {"shop-web-v1": "running", "shop-web-v2": "running"}
        # Where nothing is open all is as ever.
        assert project.containers(second) == {"shop-web-v1": "exited", "shop-web-v2": "running"}
        assert (policy(first, "v1"), policy(second, "v1")) == ("no", "unless-stopped")
        (host, *_) = json.loads(project.freehold("status", "--json").stdout)
        modes = {one["version"]: (one["serves"], one["mode"]) for one in host["containers"]}
        assert modes == {"v1": (False, "draining"), "v2": (True, "")}
        rows = json.loads(project.freehold("app", "containers", "--json").stdout)
        states = {(row["host"], row["name"][-2:]): row["state"] for row in rows}
        assert states["web-1", "v1"] == "draining"
        assert states["web-1", "v2"] == states["web-2", "v2"] == "running"

        # Another generation. Neither that nor who tidies up ends the first one.
        with talk(project, first) as two:
            assert two.version == "v2"
            project.send("v3")
            stale = json.loads(project.freehold("app", "stale_containers", "--stop", "--json").stdout)
            assert [(row["version"], row["state"]) for row in stale] == [
                ("v2", "draining"),
                ("v1", "draining"),
            ]
            project.freehold("prune", "all")
            assert one.open and two.open and (one.version, two.version) == ("v1", "v2")
            assert set(noted(first)) == {"shop-web-v1", "shop-web-v2"}

            # Back to the one that still has visitors: it serves, and its limit is none any more.
            project.freehold("rollback", "v1")
            assert project.serving() == ("v1", "v1") and policy(first, "v1") == "unless-stopped"
            assert set(noted(first)) == {"shop-web-v2"}
            assert one.open and two.open
        ended(project, first, "v2")
        assert policy(first, "v2") == "unless-stopped" and not noted(first)
        # Where a rollback to one that goes on fails, it goes on as it did.
        project.send("v3")
        before = noted(first)
        hook = project.directory / ".freehold" / "hooks" / "post-app-boot"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 3\n")
        hook.chmod(0o755)
        project.freehold("rollback", "v1", expect=1)
        hook.unlink()
        assert project.serving() == ("v3", "v3") and set(before) == {"shop-web-v1"}
        assert noted(first) == before and policy(first, "v1") == "no"
        project.until(lambda: bool(watchers(first)), "its watcher")
        assert one.open and one.version == "v1"
        traffic.seen(10)
    ended(project, first, "v1")
    assert project.settled("v3")


def test_the_limit_ends_what_is_open(project: Project) -> None:
    first = project.hosts[0]
    project.image("v2")
    limited(project, 30)
    with talk(project, first) as one, project.traffic(websocket=False) as traffic:
        project.send("v2")
        (line,) = noted(first).values()
        assert one.open
        project.until(lambda: bool(one.ended), "the limit")
        # By its usual signal, of which the application makes an orderly end.
        assert one.ended == CLOSED
        ended(project, first, "v1")
        traffic.seen(10)
    form = "{{.State.FinishedAt}} {{.State.ExitCode}}"
    finished, code = first.exec(("docker", "inspect", "--format", form, "shop-web-v1")).stdout.split()
    assert int(first.exec(("date", "-d", finished, "+%s")).stdout) >= int(line.split()[0])
    assert code == "0" and policy(first, "v1") == "unless-stopped" and not noted(first)
    project.rollback()
    assert project.settled("v1")


def test_a_reboot_ends_what_is_open(project: Project) -> None:
    """The old version does not come back with the host; where a rollback starts it, it does from then on."""
    first, _ = project.hosts
    project.image("v2")
    with talk(project, first) as one:
        project.send("v2")
        assert one.open
        first.reboot()
        project.until(lambda: project.answered() == ("v2", "v2"), "the host")
        project.until(lambda: bool(one.ended), "the end of the connection")
    assert project.containers(first, everything=False) == {"shop-web-v2": "running"}
    project.rollback()
    assert project.settled("v1") and policy(first, "v1") == "unless-stopped"
    first.reboot()
    project.until(lambda: project.answered() == ("v1", "v1"), "the host")
    assert project.settled("v1")


def test_a_deployer_is_killed_and_a_watcher(project: Project) -> None:
    """Whoever comes next sees to it that nothing goes on for ever."""
    first = project.hosts[0]
    for version in ("v2", "v3", "v4"):
        project.image(version)
    hook = project.directory / ".freehold" / "hooks" / "post-app-boot"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch live\nuntil [ -e over ]; do sleep 0.1; done\n")
    hook.chmod(0o755)
    with talk(project, first) as one, project.traffic(websocket=False) as traffic:
        with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
            project.until(lambda: (project.directory / "live").exists(), "the switch")
            os.kill(command(deploy.pid), signal.SIGKILL)
            assert deploy.wait(180) in KILLED, project.printed
        (project.directory / "over").touch()
        hook.unlink()
        project.until(lambda: free(project), "a free lock")
        assert project.serving() == ("v2", "v2") and one.open and not noted(first)
        project.send("v3")
        assert one.open and set(noted(first)) == {"shop-web-v1"}
        first.exec("systemctl stop 'freehold-open-*'")
        assert not watchers(first) and one.open
        before = noted(first)
        project.send("v4")
        # It keeps its limit.
        assert one.open and noted(first) == before
        project.until(lambda: bool(watchers(first)), "its watcher")
        traffic.seen(10)
    ended(project, first, "v1")
    assert project.settled("v4")


@pytest.fixture
def no_sudo(project: Project) -> Iterator[None]:
    """The user who deploys may not become root."""
    path = "/etc/sudoers.d/freehold-deploy"
    for host in project.hosts:
        host.exec(f"mv {path} /root/sudoers")
    yield
    for host in project.hosts:
        host.exec(f"mv /root/sudoers {path}")


def test_without_root_and_an_application_that_goes(project: Project, no_sudo: None) -> None:
    first = project.hosts[0]
    for version in ("v2", "v3"):
        project.image(version)
    with talk(project, first) as one:
        project.send("v2")
        assert first.exec("systemctl list-units --no-legend 'freehold-open-*'").stdout == ""
        assert one.open and watchers(first)
        # Nobody is logged in any more.
        first.exec("systemctl restart ssh")
        assert one.open and watchers(first)
        # One that is tried beside a container of the same version, which goes on.
        project.freehold("canary", "10%", "-P", "--version", "v1")
        project.freehold("canary", "abort")
        assert one.open and set(noted(first)) == {"shop-web-v1"} and watchers(first)
        # The same version anew: the former container goes on, and is gone with the deploy after it has ended.
        project.send("v1")
        assert project.serving() == ("v1", "v1") and one.open
        names = project.containers(first)
        assert len([name for name in names if name.startswith("shop-web-v1_replaced_")]) == 1
    project.until(lambda: set(project.containers(first, everything=False)) == {"shop-web-v1"}, "its end")
    project.send("v3")
    assert set(project.containers(first)) == {"shop-web-v1", "shop-web-v2", "shop-web-v3"}
    assert project.settled("v3") and not noted(first)

    with talk(project, first) as one:
        project.send("v2")
        project.freehold("app", "stop")
        project.until(lambda: one.ended == CLOSED, "the end by `app stop`")
        assert project.containers(first, everything=False) == {}
        project.freehold("app", "start")
        assert project.settled("v2")
    with talk(project, first) as one:
        project.rollback()
        assert one.open and set(noted(first)) >= {"shop-web-v2"}
        project.freehold("app", "remove", "-y")
        project.until(lambda: bool(one.ended) and not watchers(first), "the end by `app remove`")
    assert first.exec("ls /var/lib/freehold/apps").stdout == "" and project.containers(first) == {}
