"""A host that Kamal has set up comes under Freehold; its database goes on running meanwhile."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

UNITS = "freehold-proxy.socket freehold-proxy.service"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    project = Project(rig, hosts[:1], control.directory)
    project.config["servers"] = ["web-1"]
    project.config["accessories"] = {"cache": {"image": images.APP, "host": "web-1", "cmd": "sleep 1000"}}
    project.save()
    return project


def kamal(host: Host) -> None:
    """The containers as Kamal 2 would have them, its proxy being another program on the same port."""
    images.build(host, "abc")
    host.exec(f"systemctl stop {UNITS}")
    host.exec(
        f"""set -e
docker network create kamal
docker run --detach --restart unless-stopped --network kamal --name kamal-proxy --publish 80:8000 \
    --publish 443:8443 freehold/shop:abc
docker run --detach --restart unless-stopped --network kamal --name shop-web-abc --label service=shop \
    --label role=web --label destination= freehold/shop:abc
docker run --detach --restart unless-stopped --network kamal --name shop-cache --label service=shop-cache \
    {images.APP} sleep 1000"""
    )


def answer(project: Project, host: Host) -> str:
    """What port 80 says; nothing while nobody listens."""
    try:
        return str(project.ask(host).text.strip())
    except OSError:
        return ""


def test_from_kamal_to_freehold(project: Project) -> None:
    host = project.hosts[0]
    kamal(host)
    try:
        cache = host.exec("docker ps --quiet --no-trunc --filter name=shop-cache").stdout
        plan = json.loads(project.freehold("upgrade", "--check", "--json").stdout)["web-1"]
        assert plan[0].startswith("stop Kamal 2's proxy (kamal-proxy, ")
        assert [line.partition(" ")[0] for line in plan] == ["stop", "prepare", "connect", "start"]
        assert host.exec("docker inspect --format '{{.State.Status}}' kamal-proxy").stdout == "running\n"

        # It fails: Kamal's proxy has the ports again, with its application behind it.
        project.config["proxy"]["app_port"] = 8001
        project.save()
        failed = squeezed(project.freehold("upgrade", "-y", expect=1, timeout=400))
        assert "answered nothing" in failed
        project.until(lambda: answer(project, host) == "abc", "Kamal's proxy")
        assert host.exec("docker inspect --format '{{.State.Status}}' kamal-proxy").stdout == "running\n"
        assert set(project.containers(host)) == {"shop-web-abc"}

        project.config["proxy"]["app_port"] = 8000
        project.save()
        done = squeezed(project.freehold("upgrade", "-y", timeout=400))
        assert "docker rm kamal-proxy" in done
        assert project.serving() == ("abc",)
        look = "docker inspect --format '{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}' kamal-proxy"
        assert host.exec(look).stdout == "exited no\n"
        assert host.exec("docker ps --quiet --no-trunc --filter name=shop-cache").stdout == cache
        code = "import socket; print(socket.gethostbyname('shop-cache') != '')"
        assert project.freehold("app", "exec", "--reuse", "--", "python3", "-c", code).stdout == "True\n"
        assert set(project.containers(host)) == {"shop-web-abc"}
        again = json.loads(project.freehold("upgrade", "-y", "--json").stdout)
        assert again == {"web-1": ["nothing to do"]}
    finally:
        host.exec(f"docker rm --force kamal-proxy; systemctl start {UNITS}")
