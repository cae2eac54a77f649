"""Deploys that must fail: the message names host, step and what to do; version 1 goes on serving.

All tests share hosts on which version 1 was deployed once, as none of them may change anything there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from freehold.process import Completed
from tests.conftest import reset
from tests.integration.app import images
from tests.integration.app.project import Project, basic, squeezed
from tests.rig import Host, Rig


@pytest.fixture(scope="module")
def served(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Version 1 on both hosts."""
    pair = (rig["web-1"], rig["web-2"])
    reset(*pair)
    project = Project(rig, pair, tmp_path_factory.mktemp("project"))
    project.deploy("v1")
    return project


@pytest.fixture
def project(served: Project) -> Iterator[Project]:
    """The project as written at first; afterwards the hosts have to be as they were."""
    before = served.state()
    served.config = basic()
    served.save()
    yield served
    served.same_as(before)
    assert served.serving() == ("v1", "v1")


@contextmanager
def altered(host: Host, change: str, back: str) -> Iterator[None]:
    """A host with something wrong while the block runs."""
    host.exec(change)
    try:
        yield
    finally:
        host.exec(back)


def tells(done: Completed, *words: str) -> None:
    text = squeezed(done)
    for word in words:
        assert word in text, text


# The application does not come up


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("unhealthy", ("/up answered 503", "the application starts but fails")),
        ("missing", ("/up answered 404", "proxy.healthcheck.path")),
        ("redirect", ("/up answered 301, led to https://shop.test/up", "exempt its path from redirects")),
        ("silent", ("/up answered nothing", "proxy.app_port", "shop bad starts")),
        ("crash", ("exit code 3", "no database: giving up")),
    ],
)
def test_an_application_that_never_answers_its_probe(
    project: Project, mode: images.Mode, words: tuple[str, ...]
) -> None:
    if mode != "unhealthy":
        project.config["proxy"]["healthcheck"]["max_attempts"] = 20
        project.save()
    project.image("bad", mode)
    with project.impatient():
        done = project.send("bad", expect=1)
    tells(done, "web-1", "web-2", "web is healthy" if mode != "crash" else "web", *words)
    for host in project.hosts:
        assert list(project.containers(host)) == ["shop-web-v1"]
        assert "deploy of bad failed" in host.read("/var/lib/freehold/apps/shop/audit.log")


def test_one_unhealthy_host_keeps_the_whole_fleet_on_the_old_version(project: Project) -> None:
    first, second = project.hosts
    project.config["proxy"]["healthcheck"]["max_attempts"] = 20
    project.save()
    project.image("half", "ok", first)
    project.image("half", "unhealthy", second)
    with project.traffic(websocket=False) as traffic:
        done = project.send("half", expect=1)
        traffic.seen(20)
    tells(done, "web-2: web is healthy: ", "answered 503")
    assert set(traffic.load.report().versions) == {"v1"}


@pytest.mark.parametrize("role", ["web", "jobs"])
def test_a_container_that_ends_after_it_was_ready_gets_no_traffic(project: Project, role: str) -> None:
    """While others of the version are waited for, here a worker on the other host."""
    first, second = project.hosts
    worker = images.worker('"working"')
    project.config["servers"]["jobs"] = {"hosts": ["web-1"], "cmd": worker}
    project.config["servers"]["slow"] = {"hosts": ["web-2"], "cmd": worker}
    project.config |= {"readiness_delay": 20, "boot": {"limit": 1}}
    project.save()
    project.image("v2")
    with project.traffic(websocket=False) as traffic:
        with project.start("deploy", "--skip-push", "--version", "v2") as deploy:
            project.until(lambda: "shop-slow-v2" in project.containers(second), "the last container")
            first.exec(f"docker update --restart no shop-{role}-v2; docker kill shop-{role}-v2")
            assert deploy.wait(120) == 1
        traffic.seen(10)
    said = " ".join(project.printed.split())
    # The other host may have switched by then; nobody there had to wait for that.
    # The container that is switched to is looked at by the switch itself.
    step = {"web": "traffic to web", "jobs": "the new containers run"}[role]
    assert f"web-1: {step}: the container ended with exit code 137" in said, said


def test_an_image_that_is_not_there(project: Project) -> None:
    project.image("partly", "ok", project.hosts[0])
    tells(project.send("partly", expect=1), "web-2", "start web", "No such image", "--skip-push")


def test_a_rollback_to_a_version_that_is_not_there(project: Project) -> None:
    tells(project.rollback("v0", expect=2), "no container of web at version v0", "v1")
    tells(project.rollback(expect=2), "no earlier version", "v1 is the only one that served")
    tells(project.rollback("v1", expect=2), "v1 already serves")


def test_a_port_that_is_in_use(project: Project) -> None:
    host = project.hosts[1]
    project.config["servers"]["web"]["options"] = {"publish": "127.0.0.1:8099:8000"}
    project.save()
    project.image("v2")
    code = 'import socket; s = socket.create_server(("127.0.0.1", 8099)); s.accept()'
    with altered(
        host,
        f"systemd-run --quiet --unit=squatter python3 -c '{code}' && "
        "until ss -Hltn sport = 8099 | grep -q .; do sleep 0.1; done",
        "systemctl stop squatter",
    ):
        tells(project.send("v2", expect=1), "web-2", "start web", "address already in use", "stop it")


# The host is not ready


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        (
            "systemctl stop docker.socket docker.service",
            "systemctl start docker.socket docker.service",
            ("Docker does not answer", "systemctl status docker"),
        ),
        (
            "mv /usr/bin/docker /usr/bin/docker.away",
            "mv /usr/bin/docker.away /usr/bin/docker",
            ("Docker is not installed", "server bootstrap"),
        ),
        (
            "mv /usr/local/bin/caddy /usr/local/bin/caddy.away",
            "mv /usr/local/bin/caddy.away /usr/local/bin/caddy",
            ("the proxy is not installed", "server bootstrap"),
        ),
        (
            "systemctl stop freehold-proxy.socket freehold-proxy.service",
            "systemctl start freehold-proxy.socket freehold-proxy.service",
            ("the proxy does not run", "journalctl -u freehold-proxy"),
        ),
        (
            "gpasswd --delete deploy docker",
            "gpasswd --add deploy docker",
            ("permission denied", "add the user to the group docker"),
        ),
        (
            "chmod 755 /var/lib/freehold/proxy",
            "chmod 2775 /var/lib/freehold/proxy",
            ("may not be written by deploy", "server bootstrap"),
        ),
    ],
    ids=("docker stopped", "no docker", "no proxy", "proxy stopped", "not in docker", "not in freehold"),
)
def test_a_host_that_is_not_prepared(
    project: Project, change: str, back: str, words: tuple[str, ...]
) -> None:
    project.image("v2")
    with altered(project.hosts[1], change, back):
        tells(project.send("v2", expect=1), "web-2", *words)


def test_ssh_that_does_not_listen(project: Project) -> None:
    with altered(project.hosts[1], "systemctl stop ssh", "systemctl start ssh"):
        tells(project.send("v2", expect=1), "web-2", "connect", "Connection refused", "firewall admits SSH")


def test_a_host_name_that_nobody_knows(project: Project) -> None:
    project.config["servers"]["web"]["hosts"].append("web-9")
    project.save()
    tells(project.send("v2", expect=1), "web-9", "connect", "its name resolves")


@contextmanager
def known_hosts(rig: Rig, old: str, new: str) -> Iterator[None]:
    path = rig.home / ".ssh" / "known_hosts"
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        yield
    finally:
        path.write_text(before)


def test_an_unknown_host_key(project: Project) -> None:
    host = project.hosts[1]
    with known_hosts(project.rig, host.known_hosts, ""):
        done = project.send("v2", expect=1)
    tells(done, "web-2", "connect", "its host key is not known", "SHA256:", f"ssh-keyscan {host.address}")


def test_a_host_key_that_has_changed(project: Project) -> None:
    first, second = project.hosts
    names = second.known_hosts.split(" ")[0]
    with known_hosts(project.rig, second.known_hosts, f"{names} {first.host_key.public}"):
        done = project.send("v2", expect=1)
    tells(done, "web-2", "its host key is not the known one", "ssh-keygen -R web-2")


def test_a_key_that_opens_no_door(project: Project, tmp_path: Path) -> None:
    key = tmp_path / "other"
    project.rig.control_run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key))
    project.config["ssh"] |= {"keys": [str(key)], "keys_only": True, "config": False}
    project.save()
    tells(project.send("v2", expect=1), "web-1", "lets nobody in as 'deploy'", "ssh.keys")


# The project is not right


def test_no_configuration(project: Project) -> None:
    (project.directory / "config" / "deploy.yml").unlink()
    tells(project.send("v2", expect=2), "config/deploy.yml", "freehold init")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("service: shop\nimage: x\nservers: [web-1\n", ("config/deploy.yml:", "expected")),
        ("service: shop\nimage: x\nserverz: [web-1]\n", ("config/deploy.yml:3", "serverz", "servers")),
        ("service: shop\nservers: [web-1]\nproxy: {app_port: many}\n", ("config/deploy.yml:", "app_port")),
        ("service: a b\nimage: x\nservers: [web-1]\n", ("config/deploy.yml:1", "service")),
    ],
)
def test_a_malformed_configuration(project: Project, text: str, words: tuple[str, ...]) -> None:
    (project.directory / "config" / "deploy.yml").write_text(text)
    tells(project.send("v2", expect=2), *words)


def test_a_secret_that_is_not_defined(project: Project) -> None:
    project.image("v2")
    (project.directory / ".freehold" / "secrets").write_text("OTHER=1\n")
    done = project.send("v2", expect=2)
    tells(done, "TOKEN", "env.secret")


def test_a_dry_run_changes_nothing_and_shows_no_secret(project: Project) -> None:
    before = project.state()
    done = project.send("v2", "--dry-run")
    tells(done, "web-1: v1 → v2", "start shop-web-v2", "stop shop-web-v1", "docker run --detach")
    tells(done, "have freehold/shop:v2")
    assert project.secrets["TOKEN"] not in squeezed(done)
    # What would be built and sent, and the hooks around it in their order.
    hooks = project.directory / ".freehold" / "hooks"
    hooks.mkdir()
    for name in ("post-deploy", "pre-deploy", "pre-build"):
        (hooks / name).write_text("#!/bin/sh\ntouch ran\n")
        (hooks / name).chmod(0o755)
    (project.directory / "Dockerfile").write_text("FROM scratch\n")
    project.config["builder"] = {"context": ".", "args": {"NAME": "r1"}, "spread": True}
    project.config["proxy"] |= {"ssl": True}
    project.save()
    words = ("deploy", "--dry-run", "--version", "v2", "--no-cache")
    try:
        said = squeezed(project.freehold(*words, timeout=300))
        plans: Any = project.result(project.freehold(*words, "--json", timeout=300))
    finally:
        shutil.rmtree(hooks)
    expected = (
        *("hook .freehold/hooks/pre-build", "build ", "--tag freehold/shop:v2 --file Dockerfile"),
        *("--build-arg NAME=r1 --no-cache .", "send over SSH to one, from there to the others: web-1, web-2"),
        *("hook .freehold/hooks/pre-deploy", "hook .freehold/hooks/post-deploy", "receive freehold/shop:v2"),
        *("wait for a certificate for shop.test", "environment:", "prepare:", "await_certificates"),
    )
    places = [said.find(text) for text in expected]
    assert -1 not in places and places == sorted(places), dict(zip(expected, places, strict=True))
    assert [(plan["host"], plan["way"]) for plan in plans] == [("web-1", "ssh"), ("web-2", "ssh")]
    assert plans[0]["hooks"] == ["pre-build", "pre-deploy", "post-deploy"]
    assert plans[0]["certificates"] == ["shop.test"] and plans[0]["problem"] == "" and plans[0]["push"] == []
    (line,) = plans[1]["build"]
    assert line.endswith("--build-arg NAME=r1 --no-cache .") and line in said
    assert list(plans[0]["scripts"]) == ["environment", "prepare", "commit", "finish"]
    assert project.secrets["TOKEN"] not in json.dumps(plans) + said
    assert not (project.directory / "ran").exists()
    project.same_as(before)
