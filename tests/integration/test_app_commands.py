"""The commands around a deploy on real hosts: exec with a terminal, logs, prune, aliases, removal."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.conftest import Control, program
from tests.integration.app import images
from tests.integration.app.project import Project, squeezed
from tests.integration.app.terminal import Terminal
from tests.integration.test_deploy_interrupted import command_pid
from tests.rig import Host, Rig

WORKER = (
    "import signal, sys; signal.signal(signal.SIGINT, lambda *_: (print('ended by SIGINT', flush=True), "
    "sys.exit())); print('working', flush=True); signal.pause(); signal.pause()"
)
# `input` alone would sleep through a Ctrl-C that comes just before it reads.
PROGRAM = """\
import os, select, signal
def resized(*_): print("size", os.get_terminal_size().columns, flush=True)
signal.signal(signal.SIGWINCH, resized)
try:
    resized()
    while True:
        if select.select([0], [], [], 0.1)[0]: print("got", input(), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(7)
"""


KEPT = "/home/deploy/kept"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Iterator[Project]:
    project = Project(rig, hosts, control.directory)
    for host in hosts:
        host.exec(f"docker network create backend; mkdir {KEPT}; echo noted >{KEPT}/note")
    project.config["servers"]["web"]["options"] = {"network": "backend"}
    project.config["jobs"] = {
        "look": {"schedule": "30 3 1 1 *", "cmd": "cat /proc/net/dev /kept/note; exit 3"}
    }
    project.config["servers"]["jobs"] = {
        "hosts": ["web-2"],
        "cmd": f'python3 -c "{WORKER}"',
        "stop_timeout": 20,
        "options": {"stop-signal": "SIGINT", "cap-drop": ["NET_RAW", "MKNOD"], "init": False},
        "logging": {"options": {"tag": "jobs"}},
        "labels": {"team": "back"},
    }
    project.config |= {
        "logging": {"driver": "json-file", "options": {"max-size": "5m", "max-file": 2}},
        "volumes": ["shop-data:/data", "~/kept:/kept:ro"],
        "labels": {"owner": "us", "version": "1"},
        "retain_containers": 1,
        "aliases": {"greet": "app exec --reuse -p 'echo $GREETING'", "stale": "app stale_containers"},
    }
    project.save()
    yield project
    for host in hosts:
        host.exec(f"rm -r {KEPT}")


def inspected(host: Host, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(host.exec(f"docker inspect {name}").stdout)
    return found[0]


def rows(project: Project, *words: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(project.freehold(*words, "--json").stdout)
    return found


def test_commands_around_a_deploy(project: Project, rig: Rig) -> None:
    web, other = project.hosts
    project.deploy("v1")
    docker_keys(web, other)
    running(project, web)
    terminal(project, rig)
    following(project)
    assert "ended by SIGINT" in other.exec("docker logs shop-jobs-v1 2>&1").stdout
    keeping(project, web, other)
    booting(project, web)
    removing(project, web, other)


def docker_keys(web: Host, other: Host) -> None:
    """`logging`, `labels`, `volumes`, `options`, `stop_timeout` of root and role."""
    first, jobs = inspected(web, "shop-web-v1"), inspected(other, "shop-jobs-v1")
    assert first["HostConfig"]["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "5m", "max-file": "2"},
    }
    assert jobs["HostConfig"]["LogConfig"]["Config"] == {"max-size": "5m", "max-file": "2", "tag": "jobs"}
    assert (jobs["Config"]["StopSignal"], jobs["Config"]["StopTimeout"]) == ("SIGINT", 20)
    assert jobs["HostConfig"]["CapDrop"] == ["NET_RAW", "MKNOD"]
    assert re.fullmatch(r"web-1-[0-9a-f]{12}", first["Config"]["Hostname"])
    labels = jobs["Config"]["Labels"]
    assert (labels["owner"], labels["team"], labels["role"]) == ("us", "back", "jobs")
    assert labels["version"] == "1"
    assert "team" not in first["Config"]["Labels"]
    mounts = {mount["Destination"]: mount.get("Name", mount["Source"]) for mount in first["Mounts"]}
    assert mounts == {"/data": "shop-data", "/kept": KEPT}
    assert set(first["NetworkSettings"]["Networks"]) == {"freehold", "backend"}
    assert set(jobs["NetworkSettings"]["Networks"]) == {"freehold"}


def running(project: Project, web: Host) -> None:
    """`exec` in both kinds of containers, and `logs`."""
    assert project.freehold("greet").stdout == "hello\n"
    done = project.freehold("app", "exec", "-r", "web", "-e", "GREETING=bye", "echo $GREETING $KAMAL_VERSION")
    assert sorted(line.partition("| ")[2] for line in done.stdout.splitlines()) == ["bye v1", "bye v1"]
    done = project.freehold("app", "exec", "-r", "jobs", "sh -c 'echo $KAMAL_VERSION; exit 4'", expect=4)
    assert done.stdout == "v1\n"
    # Each container has the networks of its role, and the volumes.
    for words, code in (
        (("app", "exec", "-p", "cat /proc/net/dev /kept/note"), 0),
        (("app", "exec", "-p", "--reuse", "cat /proc/net/dev /kept/note"), 0),
        (("jobs", "run", "look"), 3),
    ):
        seen = project.freehold(*words, expect=code).stdout
        assert (seen.count("eth"), seen.count("noted")) == (2, 1), seen
    assert project.freehold("app", "exec", "-p", "sh -c 'exit 9'", expect=9).stdout == ""
    assert project.freehold("app", "exec", "--reuse", "-p", "sh -c 'exit 9'", expect=9).stdout == ""
    piped = project.rig.control_run(
        (program("freehold"), "app", "exec", "-p", "--raw", "cat"), cwd=project.directory, stdin="a\r\nb"
    )
    assert piped.stdout == "a\r\nb"
    raw = project.rig.control_run(
        (program("freehold"), "app", "exec", "--reuse", "--raw", "cat"),
        cwd=project.directory,
        stdin="a\r\nb without end",
    )
    assert raw.stdout == "a\r\nb without end"
    name = project.freehold("app", "exec", "-p", "--detach", "sh -c 'echo from afar; sleep 1'").stdout.strip()
    project.until(lambda: "from afar" in logs(project, "--container-id", name), "a detached command")
    assert "--detach and --reuse exclude" in squeezed(
        project.freehold("app", "exec", "--detach", "--reuse", "id", expect=2)
    )
    assert logs(project, "-r", "jobs", "-T") == logs(project, "-r", "jobs", "-T", "-s", "1h") == "working\n"
    assert logs(project, "-r", "jobs", "-T", "--since", "2099-01-01T00:00:00Z") == ""
    assert logs(project, "-r", "jobs", "-g", "WORK", "-o", "-i", "-n", "5").endswith("working\n")
    assert logs(project, "-r", "jobs", "-g", "nothing of the kind") == ""
    assert "shop-web-v1" in [row["name"] for row in rows(project, "app", "containers", "-h", "web-1")]
    kept = project.freehold(
        "server", "exec", "--raw", "printf 'no end'; echo to-stderr >&2; exit 5", expect=5
    )
    assert kept.stdout == "no end" and "to-stderr" in kept.stderr
    assert "exclude each other" in squeezed(project.freehold("server", "exec", "-i", "--raw", "id", expect=2))
    entry = json.loads(logs(project, "-r", "jobs", "-T", "--json"))
    assert entry == {"host": "web-2", "line": "working"}


def following(project: Project) -> None:
    """`logs -f` over two hosts, a switch and a restart: every line with its host, none lost or twice."""
    with project.start("app", "logs", "-f", "-T", "-n", "1", "-r", "web", "-g", "line-") as reading:
        said: dict[str, list[str]] = {host.name: [] for host in project.hosts}

        def say(version: str, text: str) -> None:
            for host in project.hosts:
                host.exec(f"docker exec shop-web-{version} sh -c 'echo line-{text} >/proc/1/fd/1'")
                said[host.name].append(f"line-{text}")

        def heard(number: int) -> bool:
            return len(project.printed.splitlines()) >= number * len(project.hosts)

        say("v1", "before")
        project.until(lambda: heard(1), "the first lines")
        project.image("v2")
        for number, step in enumerate(("switched", "again"), 2):
            # The second time the same version comes in another container of the same name.
            project.freehold("redeploy", "--skip-push", "--version", "v2")
            say("v2", step)
            project.until(partial(heard, number), f"lines of container {number}")
        for host in project.hosts:
            host.exec("docker restart --time 2 shop-web-v2")
        say("v2", "restarted")
        project.until(lambda: heard(4), "lines after the restart")
        os.kill(command_pid(reading.pid), signal.SIGINT)
        assert reading.wait(30) == 0
    found: dict[str, list[str]] = {}
    for line in project.printed.splitlines():
        name, _, text = line.partition("| ")
        found.setdefault(name.strip(), []).append(text)
    assert found == said
    # Nothing of the reading goes on.
    gone = "until ! pgrep -f '[d]ocker logs' >/dev/null; do sleep 0.1; done"
    for host in project.hosts:
        host.exec(gone, timeout=30)


def logs(project: Project, *words: str) -> str:
    return project.freehold("app", "logs", *words).stdout


def terminal(project: Project, rig: Rig) -> None:
    """A true terminal: size and its changes, keys, Ctrl-C to the other side, the exit code."""
    words = ("app", "exec", "-i", "--reuse", "--", "python3", "-c", PROGRAM)
    screen = Terminal((rig.enter, program("freehold"), *words), project.directory, size=(30, 91))
    screen.expect("size 91")
    screen.type("some words\r")
    screen.expect("got some words")
    # Docker's client listens for changes of the window a moment after the program has begun.
    assert any(resized(screen, columns) for columns in range(123, 143))
    screen.type("\x03")
    screen.expect("interrupted")
    assert screen.close() == 7


def resized(screen: Terminal, columns: int) -> bool:
    screen.resize(40, columns)
    return screen.shows(f"size {columns}", 3)


def keeping(project: Project, web: Host, other: Host) -> None:
    """Stale containers, and what `prune` takes and leaves."""
    web.exec("docker start shop-web-v1")
    found = rows(project, "stale")
    assert [(row["host"], row["container"]) for row in found] == [("web-1", "shop-web-v1")]
    assert rows(project, "app", "stale_containers", "--stop")[0]["state"] == "stopped"
    assert rows(project, "app", "stale_containers") == []

    images.build(web, "unused")
    images.build(web, "foreign")
    web.exec("docker create --name foreign --label service=foreign freehold/shop:foreign")
    project.deploy("v3")
    web.exec(
        "docker create --name shop-web-v0 --label service=shop --label role=web "
        "--label destination= --label version=v0 freehold/shop:v1"
    )
    project.freehold("prune", "images")
    assert set(project.containers(web)) >= {"shop-web-v3", "shop-web-v2", "shop-web-v0"}
    project.freehold("prune", "containers", "--retain", "1")
    assert set(project.containers(web)) == {"shop-web-v3", "shop-web-v2"}
    project.freehold("prune", "all", "--retain", "1")
    kept = {row["image"] for row in rows(project, "app", "images", "-h", "web-1")}
    assert kept == {"freehold/shop:v3", "freehold/shop:v2", "freehold/shop:foreign"}
    assert web.exec("docker ps --all --quiet --filter name=foreign").stdout
    project.rollback()
    assert project.serving() == ("v2", "v2")
    versions = {(row["host"], row["role"]): row["version"] for row in rows(project, "app", "version")}
    assert versions == dict.fromkeys([("web-1", "web"), ("web-2", "web"), ("web-2", "jobs")], "v2")


def booting(project: Project, web: Host) -> None:
    """`app boot` takes the configuration of now; `stop` and `start`."""
    project.config["env"]["clear"]["GREETING"] = "good evening"
    project.save()
    project.freehold("app", "boot")
    assert project.serving() == ("v2", "v2")
    assert project.environment(web)["GREETING"] == "good evening"
    project.freehold("app", "stop", "-h", "web-1")
    assert project.containers(web, everything=False) == {}
    project.freehold("app", "start", "-h", "web-1")
    assert project.serving() == ("v2", "v2")


def removing(project: Project, web: Host, other: Host) -> None:
    """Parts, then the whole."""
    wrong = squeezed(project.freehold("app", "remove_container", "v2", expect=1))
    assert "running" in wrong and "web-1" in wrong
    project.freehold("app", "remove_container", "v3")
    assert set(project.containers(web)) == {"shop-web-v2"}
    web.exec(
        "docker create --name shop-web-v9 --label service=shop --label role=web --label destination= "
        "--label version=v9 freehold/shop:v2"
    )
    project.freehold("app", "remove_containers")
    assert set(project.containers(web)) == {"shop-web-v2"}
    images.build(web, "unused")
    project.freehold("app", "remove_images")
    assert {row["image"] for row in rows(project, "app", "images", "-h", "web-1")} == {
        "freehold/shop:v2",
        "freehold/shop:foreign",
    }
    kept_files = squeezed(project.freehold("app", "remove_app_directories", expect=1))
    assert "containers of shop are left" in kept_files
    project.freehold("app", "remove", "-y", "-r", "jobs")
    assert set(project.containers(other)) == {"shop-web-v2"}
    assert project.serving() == ("v2", "v2")
    assert "Remove the application" in squeezed(project.freehold("app", "remove", expect=2))
    project.freehold("app", "remove", "-y")
    for host in (web, other):
        assert project.containers(host) == {}
        assert host.exec("docker images --quiet freehold/shop:v2; ls /var/lib/freehold/apps").stdout == ""
    assert project.ask(web).status == 404
