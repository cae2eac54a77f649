"""What only looks, on hosts of which one is down or half of it is."""

from __future__ import annotations

import json

from tests.conftest import Control
from tests.integration.app import images, reading
from tests.integration.app.project import Project, squeezed
from tests.integration.test_app_commands import rows
from tests.rig import Host, Rig


def test_looking_while_something_is_down(rig: Rig, hosts: tuple[Host, Host], control: Control) -> None:
    """A proxy that is down hides nothing; a host that is not reached hides nothing of the others.

    And what everything that looks says while nothing is down.
    """
    project = Project(rig, hosts, control.directory)
    project.config["accessories"] = {
        "cache": {"image": images.APP, "host": "web-2", "cmd": "sh -c 'echo ready; exec sleep 1000'"}
    }
    reading.prepare(project)
    project.deploy("v1")
    reading.prints_json(project)
    reading.shows_frames(project)
    project.freehold("accessory", "remove_container", "cache")
    web, other = hosts
    proxy = "freehold-proxy.socket freehold-proxy.service"
    web.exec(f"systemctl stop {proxy}")
    try:
        assert [(row["host"], row["problem"]) for row in rows(project, "details")] == [
            *(("web-1", ""), ("web-2", "")),
            ("web-2", ""),
        ]
        project.freehold("app", "stop", "-h", "web-1")
        project.freehold("app", "start")
        project.freehold("prune", "all")
        assert project.containers(web) == {"shop-web-v1": "running"}
    finally:
        web.exec(f"systemctl start {proxy}")

    looks = [("details",), ("app", "version"), ("app", "containers"), ("app", "images"), ("proxy", "details")]
    looks += [("app", "stale_containers"), ("canary", "status"), ("accessory", "details")]
    web.exec("docker stop --time 1 shop-web-v1")
    other.exec("systemctl stop ssh")
    try:
        for words in looks:
            found = json.loads(project.freehold(*words, "--json", expect=1).stdout)
            assert "Connection refused" in found[-1]["problem"] and found[-1]["host"] == "web-2", words
            assert {row["host"] for row in found[:-1]} <= {"web-1"}, words
        shown = project.freehold("details", expect=1).stdout.splitlines()
        assert [line.split()[0] for line in shown] == ["HOST", "web-1", "web-2"]
        assert "Connection refused" in shown[-1]
        assert "v1" in project.freehold("audit", expect=1).stdout
        assert len(project.freehold("audit", "-n", "1", expect=1).stdout.splitlines()) == 1
        found = json.loads(project.freehold("server", "exec", "--json", "hostname; exit 3", expect=3).stdout)
        assert found[0] == {"host": "web-1", "code": 3, "output": "web-1", "problem": ""}
        assert (found[1]["host"], found[1]["code"]) == ("web-2", None)
        assert "Connection refused" in found[1]["problem"]
        assert "web-2" in squeezed(project.freehold("app", "start", expect=1))
        assert project.containers(web) == {"shop-web-v1": "running"}
        words = ("app", "exec", "--reuse", "--json", "sh -c 'echo one; echo two'")
        found = json.loads(project.freehold(*words, expect=1).stdout)
        assert found[0] == {"host": "web-1", "role": "web", "code": 0, "output": "one\ntwo", "problem": ""}
    finally:
        other.exec("systemctl start ssh")


def test_the_status_shows_kept_containers_where_that_is_asked_for(
    rig: Rig, hosts: tuple[Host, Host], control: Control
) -> None:
    project = Project(rig, hosts, control.directory)
    for version in ("v1", "v2", "v3"):
        project.deploy(version)
    # One that was kept runs again: it is shown always, and serves nothing.
    project.hosts[1].exec("docker start shop-web-v2")

    def shown(*words: str) -> list[tuple[str, ...]]:
        """Host, version, state, and whether it serves, of each line about a container."""
        lines = project.freehold("status", *words).stdout.splitlines()
        rows = [line.split() for line in lines if "shop-web-" in line]
        return sorted((row[0], row[2], row[3], str("yes" in row)) for row in rows)

    up = [
        ("web-1", "v3", "running", "True"),
        ("web-2", "v2", "running", "False"),
        ("web-2", "v3", "running", "True"),
    ]
    kept = [("web-1", version, "exited", "False") for version in ("v1", "v2")]
    kept.append(("web-2", "v1", "exited", "False"))
    assert shown() == up
    assert shown("-a") == shown("--all") == sorted((*up, *kept))
    assert shown("-a", "-h", "web-1") == [*kept[:2], up[0]]
