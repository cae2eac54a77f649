"""A host that Kamal has set up comes under Freehold; its database goes on running meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, squeezed
from tests.integration.test_deploy_interrupted import KILLED, command_pid, free
from tests.rig import Host, Rig

UNITS = "freehold-proxy.socket freehold-proxy.service"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    project = Project(rig, hosts[:1], control.directory)
    project.config["servers"] = ["web-1"]
    project.config["accessories"] = {"cache": {"image": images.APP, "host": "web-1", "cmd": "sleep 1000"}}
    project.save()
    return project


KAMAL_2 = f"""docker network create kamal
docker run --detach --restart unless-stopped --network kamal --name kamal-proxy --publish 80:8000 \
    --publish 443:8443 freehold/shop:abc
docker run --detach --restart unless-stopped --network kamal --name shop-web-abc --label service=shop \
    --label role=web --label destination= freehold/shop:abc
docker run --detach --restart unless-stopped --network kamal --name shop-cache --label service=shop-cache \
    {images.APP} sleep 1000"""
# Everything in Docker's own network, routes as labels, and before 1.9 no label for a destination.
KAMAL_1 = f"""docker run --name traefik --detach --restart unless-stopped --publish 80:8000 \
    --volume /var/run/docker.sock:/var/run/docker.sock freehold/shop:abc
docker run --detach --restart unless-stopped --name shop-web-abc -e KAMAL_VERSION=abc --label service=shop \
    --label role=web --label traefik.http.services.shop-web.loadbalancer.server.scheme=http \
    --label 'traefik.http.routers.shop-web.rule=PathPrefix(`/`)' freehold/shop:abc
docker run --name shop-cache --detach --restart unless-stopped --label service=shop-cache \
    {images.APP} sleep 1000"""


@dataclass(frozen=True)
class Old:
    """What a Kamal leaves on a host; its proxy is another program with the same name and ports."""

    proxy: str
    title: str
    run: str

    def set_up(self, host: Host) -> None:
        images.build(host, "abc")
        host.exec(f"systemctl stop {UNITS}")
        host.exec(f"set -e\n{self.run}")


OLD = (Old("kamal-proxy", "Kamal 2's proxy", KAMAL_2), Old("traefik", "Kamal 1's proxy", KAMAL_1))


def answer(project: Project, host: Host) -> str:
    """What port 80 says; nothing while nobody listens."""
    try:
        return str(project.ask(host).text.strip())
    except OSError:
        return ""


def answers(project: Project, host: Host, version: str) -> bool:
    return answer(project, host) == version


@pytest.mark.parametrize("old", OLD, ids=lambda old: old.proxy)
def test_from_kamal_to_freehold(project: Project, old: Old) -> None:
    host = project.hosts[0]
    old.set_up(host)
    try:
        cache = host.exec("docker ps --quiet --no-trunc --filter name=shop-cache").stdout
        plan = json.loads(project.freehold("upgrade", "--check", "--json").stdout)["web-1"]
        assert plan["todo"][0].startswith(f"stop {old.title} ({old.proxy}, ")
        assert [line.partition(" ")[0] for line in plan["todo"]] == ["stop", "prepare", "connect", "start"]
        assert (plan["version"], plan["proxies"], plan["done"]) == ("abc", [old.proxy], False)
        assert host.exec(f"docker inspect --format '{{{{.State.Status}}}}' {old.proxy}").stdout == "running\n"

        # It fails: Kamal's proxy has the ports again, with its application behind it.
        project.config["proxy"]["app_port"] = 8001
        project.save()
        failed = squeezed(project.freehold("upgrade", "-y", expect=1, timeout=400))
        assert "answered nothing" in failed
        project.until(lambda: answer(project, host) == "abc", "Kamal's proxy")
        assert host.exec(f"docker inspect --format '{{{{.State.Status}}}}' {old.proxy}").stdout == "running\n"
        assert set(project.containers(host)) == {"shop-web-abc"}

        project.config["proxy"]["app_port"] = 8000
        project.save()
        done = json.loads(project.freehold("upgrade", "-y", "--json", timeout=400).stdout)["web-1"]
        assert (done["version"], done["proxies"], done["done"]) == ("abc", [old.proxy], True)
        assert project.serving() == ("abc",)
        state = "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}"
        look = f"docker inspect --format '{state}' {old.proxy}"
        assert host.exec(look).stdout == "exited no\n"
        assert host.exec("docker ps --quiet --no-trunc --filter name=shop-cache").stdout == cache
        code = "import socket; print(socket.gethostbyname('shop-cache') != '')"
        assert project.freehold("app", "exec", "--reuse", "--", "python3", "-c", code).stdout == "True\n"
        assert set(project.containers(host)) == {"shop-web-abc"}
        again = json.loads(project.freehold("upgrade", "-y", "--json").stdout)
        assert again == {"web-1": {"todo": [], "version": None, "proxies": [], "deserted": [], "done": True}}
    finally:
        host.exec(f"docker rm --force {old.proxy}; systemctl start {UNITS}")


def test_host_by_host_and_killed_on_the_way(rig: Rig, hosts: tuple[Host, Host], control: Control) -> None:
    """The second host serves on meanwhile; what the dead one stopped comes back where the next one fails."""
    project = Project(rig, hosts, control.directory)
    old = OLD[0]
    begun, go, hooked = (project.directory / name for name in ("begun", "go", "hooked"))
    hook = project.directory / ".freehold" / "hooks" / "pre-app-boot"
    hook.parent.mkdir(parents=True)
    text = "#!/bin/sh\necho $KAMAL_HOSTS >>{}\n"
    hook.write_text(f"{text.format(hooked)}touch {begun}\nuntil [ -e {go} ]; do sleep 0.1; done\n")
    hook.chmod(0o755)
    for host in hosts:
        old.set_up(host)
        # A prepared host lets no published port through.
        host.exec(
            "nft insert rule inet freehold forward ct status dnat meta l4proto tcp "
            "ct original proto-dst 80 accept"
        )
    state = f"docker inspect --format '{{{{.State.Status}}}}' {old.proxy}"

    def stopped() -> bool:
        return hosts[0].exec(state).stdout == "exited\n"

    def prepared() -> bool:
        return hosts[0].exec("systemctl is-active freehold-proxy", check=False).stdout == "active\n"

    try:
        with project.start("upgrade", "-y", "--rolling") as upgrade:

            def reached(what: Callable[[], bool]) -> bool:
                assert upgrade.poll() is None, project.printed
                return what()

            project.until(partial(reached, stopped), "the end of Kamal's proxy")
            # The command itself, and not the hook that it is going to run.
            pid = command_pid(upgrade.pid)
            # It is prepared anew, which takes its time.
            project.until(partial(reached, prepared), "Freehold's proxy")
            project.until(partial(reached, begun.exists), "the first host's application")
            assert [host.exec(state).stdout for host in hosts] == ["exited\n", "running\n"]
            assert answer(project, hosts[1]) == "abc"
            os.kill(pid, signal.SIGKILL)
            assert upgrade.wait(180) in KILLED, project.printed
        go.touch()
        hook.write_text(text.format(hooked))
        project.until(lambda: free(project), "a free lock")

        project.config["proxy"]["app_port"] = 8001
        with project.impatient():
            project.freehold("upgrade", "-y", "--rolling", expect=1, timeout=400)
        for host in hosts:
            project.until(partial(answers, project, host, "abc"), f"{host.name}: Kamal's proxy")
            assert host.exec(state).stdout == "running\n"
            assert set(project.containers(host)) == {"shop-web-abc"}

        project.config["proxy"]["app_port"] = 8000
        project.save()
        hooked.unlink()
        project.freehold("upgrade", "-y", "--rolling", timeout=400)
        assert project.serving() == ("abc", "abc")
        assert [host.exec(state).stdout for host in hosts] == ["exited\n"] * 2
        assert hooked.read_text().split() == ["web-1", "web-2"]
        assert "nothing to do" in project.freehold("upgrade", "--check").stdout
    finally:
        for host in hosts:
            host.exec(f"docker rm --force {old.proxy}; systemctl start {UNITS}")


def test_a_proxy_that_serves_others_is_not_stopped_without_a_word(project: Project) -> None:
    (host,) = project.hosts
    old = OLD[0]
    old.set_up(host)
    host.exec(
        "docker run --detach --network kamal --name blog-web-b1 --label service=blog --label role=web "
        "--label destination=staging freehold/shop:abc"
    )
    try:
        plan = json.loads(project.freehold("upgrade", "--check", "--json").stdout)["web-1"]
        assert plan["deserted"] == ["blog-staging"] and "nobody reaches blog-staging" in plan["todo"][0]
        said = squeezed(project.freehold("upgrade", expect=2))
        assert "web-1: the old proxy may serve blog-staging too" in said and "upgrade -y" in said, said
        assert host.exec(f"docker inspect --format '{{{{.State.Status}}}}' {old.proxy}").stdout == "running\n"
        assert set(project.containers(host)) == {"shop-web-abc"}
    finally:
        host.exec(f"docker rm --force {old.proxy} blog-web-b1; systemctl start {UNITS}")


def test_what_fails_once_the_application_serves_takes_nothing_back(project: Project) -> None:
    """Kamal's container has gone by then: its proxy would have nobody to ask."""
    (host,) = project.hosts
    old = OLD[0]
    old.set_up(host)
    hook = project.directory / ".freehold" / "hooks" / "post-deploy"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    try:
        said = squeezed(project.freehold("upgrade", "-y", expect=1, timeout=400))
        assert "the hook post-deploy failed with exit code 1; abc is live all the same" in said
        assert "web-1: abc serves behind Freehold's proxy all the same" in said
        assert project.serving() == ("abc",)
        state = f"docker inspect --format '{{{{.State.Status}}}}' {old.proxy}"
        assert host.exec(state).stdout == "exited\n"
        assert "nothing to do" in project.freehold("upgrade", "--check").stdout
    finally:
        host.exec(f"docker rm --force {old.proxy}; systemctl start {UNITS}")
