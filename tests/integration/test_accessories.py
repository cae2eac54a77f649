"""Accessories on real hosts: Postgres and Redis beside the application, and one that the proxy reaches."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.conftest import Control, program
from tests.integration.app import databases
from tests.integration.app.project import Project, squeezed
from tests.integration.test_deploy_interrupted import command_pid
from tests.rig import Host, Rig

SELECT = "psql -h /tmp -U postgres -tAc 'select name from shop'"
HOME = "/home/deploy"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    project = Project(rig, hosts, control.directory)
    project.secrets["POSTGRES_PASSWORD"] = databases.PASSWORD
    project.config["deploy_timeout"] = 60
    return project


def state(project: Project, name: str) -> dict[str, Any]:
    """What `accessory details` says of one."""
    rows = json.loads(project.freehold("accessory", "details", name, "--json").stdout)
    assert len(rows) == 1
    return dict(rows[0])


def container(host: Host, name: str) -> str:
    """The id of a running container."""
    return host.exec(f"docker ps --quiet --no-trunc --filter name=^/{name}$").stdout.strip()


def happened(host: Host, event: str, to: str) -> int:
    """When it last happened to a container, in nanoseconds; all hosts have one clock."""
    filters = f"--filter container={to} --filter event={event}"
    look = f"docker events --since 1h --until $(date +%s.%N) {filters} --format '{{{{.TimeNano}}}}'"
    return int(host.exec(look).stdout.split()[-1])


def test_databases_live_beside_the_application(project: Project, rig: Rig) -> None:
    web = project.hosts[0]
    databases.offer(rig)
    databases.write_files(project.directory)
    project.config["accessories"] = databases.accessories()
    project.save()
    try:
        story(project, web)
    finally:
        web.exec(f"rm -rf {HOME}/shop-db {HOME}/shop-cache")


def story(project: Project, web: Host) -> None:
    # `setup` starts them before the first deploy; the image comes from this computer, as no registry has it.
    project.image("v1")
    for host in project.hosts:
        # Images outlast tests, and another one may have sent it.
        host.exec(f"docker image rm --force {databases.IMAGE} >/dev/null 2>&1", check=False)
    done = project.freehold("setup", "--skip-push", "--version", "v1", timeout=400)
    assert f"Sending {databases.IMAGE}" in squeezed(done)
    assert project.serving() == ("v1", "v1")
    assert state(project, "db")["state"] == "running" and "healthy" in state(project, "db")["status"]

    # The application finds them by name; the secret, the template, modes and owners have arrived.
    code = "import socket; socket.create_connection(('shop-db', 5432), 5); print('found')"
    done = project.freehold("app", "exec", "--reuse", "-h", "web-1", "--", "python3", "-c", code)
    assert done.stdout == "found\n"
    ask = ("accessory", "exec", "db", "--reuse")
    assert project.freehold(*ask, SELECT).stdout == f"the shop of {len(databases.PASSWORD)}\n"
    login = f"PGPASSWORD={databases.PASSWORD} psql -h shop-db -U postgres -tAc 'select 1'"
    assert project.freehold("accessory", "exec", "cache", "--reuse", login).stdout == "1\n"
    modes = web.exec(
        f"cd {HOME}; stat -c '%a %U' shop-db shop-db/usr/local/bin/database shop-db/etc/server.key; "
        "stat -c '%a' shop-db/data"
    ).stdout.split("\n")
    assert modes[:4] == ["700 deploy", "755 deploy", "600 deploy", "700"]
    uids = web.exec(f"stat -c %u {HOME}/shop-db/data {HOME}/shop-db/etc/init.sql").stdout.split()
    inside = project.freehold(*ask, "id -u postgres").stdout.strip()
    assert uids == [inside, inside] and inside != "0"
    env = "/var/lib/freehold/apps/shop-db/versions/accessory/accessory.env"
    assert web.exec(f"stat -c '%a' {env}").stdout == "600\n"
    listed = web.exec("ps -eo args; docker inspect --format '{{.Config.Cmd}}' shop-db").stdout
    assert databases.PASSWORD not in listed
    assert web.exec("docker inspect --format '{{.Config.Labels.keeper}}' shop-db").stdout == "me\n"

    # The port is on the address that was asked for; what was written survives a restart.
    assert web.exec("redis-cli ping", check=False).returncode != 0  # the host has no Redis of its own
    cache = ("accessory", "exec", "cache", "--reuse")
    assert project.freehold(*cache, "redis-cli set visits 41").stdout == "OK\n"
    project.freehold("accessory", "restart", "cache")
    assert project.freehold(*cache, "redis-cli incr visits").stdout == "42\n"
    probe = "exec 3<>/dev/tcp/127.0.0.1/6379; printf 'PING\\r\\n' >&3; head -c 5 <&3"
    assert web.exec(probe).stdout == "+PONG"

    found = json.loads(project.freehold("details", "--json").stdout)
    beside = {row["role"]: row["state"] for row in found if row["role"].startswith("accessory")}
    assert beside == {"accessory db": "running", "accessory cache": "running"}

    # A deploy and a second boot leave them alone.
    before = [container(web, "shop-db"), container(web, "shop-cache")]
    project.deploy("v2")
    done = project.freehold("accessory", "boot", "all", "--json")
    assert json.loads(done.stdout) == {"booted": {}}
    assert [container(web, "shop-db"), container(web, "shop-cache")] == before

    # A reboot that fails leaves the old one in its place, with its data.
    good = project.config["accessories"]["db"]["cmd"]
    project.config["accessories"]["db"]["cmd"] = "bash -c 'echo broken; exit 3'"
    project.save()
    failed = squeezed(project.freehold("accessory", "reboot", "db", expect=1, timeout=300))
    assert "exit code 3" in failed and "broken" in failed and "db" in failed
    project.until(lambda: container(web, "shop-db") == before[0], "the old database")
    project.config["accessories"]["db"]["cmd"] = good
    project.save()
    project.freehold("accessory", "reboot", "db", timeout=300)
    assert container(web, "shop-db") not in ("", before[0])
    assert project.freehold(*ask, SELECT).stdout.startswith("the shop")
    assert web.exec("docker ps --all --quiet --filter name=_replaced_").stdout == ""

    # Its words, as bytes in and out, in a container of its own.
    dump = project.rig.control_run(
        (program("freehold"), *ask, "--raw", "psql -h /tmp -U postgres -q"),
        cwd=project.directory,
        stdin="insert into shop values ('a second'); select count(*) from shop;",
    )
    assert " 2\n" in dump.stdout
    said = project.freehold("accessory", "logs", "db", "-T", "-g", "ready to accept").stdout
    assert "database system is ready" in said and len(said.splitlines()) == 1
    fresh = project.freehold("accessory", "exec", "db", "echo $SHOP_NAME; ls /data").stdout
    assert fresh == "the shop\npg\n"
    assert project.freehold(*ask, "sh -c 'exit 7'", expect=7).returncode == 7

    # Stopped and started; a volume outlives what it served.
    project.freehold("accessory", "stop", "all")
    assert {state(project, name)["state"] for name in ("db", "cache")} == {"exited"}
    project.freehold("accessory", "start", "all")
    assert "Remove" in squeezed(project.freehold("accessory", "remove", "db", expect=2))
    project.freehold("accessory", "remove", "all", "-y")
    assert state(project, "db")["state"] == "missing"
    places = [
        f"{place}/shop-{name}" for place in (HOME, "/var/lib/freehold/apps") for name in ("db", "cache")
    ]
    assert web.exec(f"ls -d {' '.join(places)}", check=False).stdout == ""
    assert "cache-data" in web.exec("docker volume ls --quiet").stdout
    assert project.serving() == ("v2", "v2")


def test_what_the_proxy_reaches_and_what_is_wrong(project: Project) -> None:
    """An accessory with a proxy of its own on a role's hosts, one on a tag's; errors that say what to do."""
    project.config["servers"]["web"]["hosts"] = ["web-1", {"web-2": ["edge"]}]
    project.config["env"]["tags"] = {"edge": {"NEAR": "yes"}}
    (project.directory / "side.conf").write_text("one")
    project.config["accessories"] = {
        "admin": {
            "image": "freehold/shop:v1",
            "roles": ["web"],
            "options": {"network": "backend"},
            "env": {"clear": {"APP_NAME": "admin", "LINES": "one\ntwo"}},
            "proxy": {
                "host": "admin.test",
                "app_port": 8000,
                "healthcheck": {"path": "/up", "interval": 0.3},
            },
        },
        "side": {
            "image": "freehold/shop:v1",
            "tag": "edge",
            "files": ["side.conf:/etc/side.conf"],
            "directories": ["kept:/kept"],
        },
        "ghost": {"image": "freehold/ghost:1", "host": "web-2"},
        "page": {"image": "freehold/shop:v1", "host": "web-1", "files": ["missing.conf:/etc/missing.conf"]},
    }
    project.save()
    project.deploy("v1")
    wrong = squeezed(project.freehold("accessory", "boot", "admin", expect=1))
    assert "network backend not found" in wrong and "admin" in wrong
    for host in project.hosts:
        host.exec("docker network create backend")
    project.freehold("accessory", "boot", "admin")
    for host in project.hosts:
        told = project.ask(host, "/environment", name="admin.test").json()
        assert (told["LINES"], told["KAMAL_HOST"]) == ("one\ntwo", host.name)
    assert project.serving() == ("v1", "v1")
    project.deploy("v2")
    project.freehold("accessory", "reboot", "admin", "-h", "web-2")
    web = project.hosts[0]
    # Its address is its own: the route is true after a restart of everything.
    web.restart_service("docker")
    project.until(lambda: project.ask(web, "/version", name="admin.test").status == 200, "the accessory")
    assert project.ask(web, "/version", name="admin.test").text.strip() == "v1"

    seen = project.freehold("accessory", "exec", "admin", "-h", "web-1", "cat /proc/net/dev").stdout
    assert seen.count("eth") == 2

    several(project)
    handling(project, web)
    wrong = squeezed(project.freehold("accessory", "boot", "ghost", expect=1))
    assert "freehold/ghost:1 is not here" in wrong and "web-2" in wrong and "ghost" in wrong
    wrong = squeezed(project.freehold("accessory", "boot", "page", expect=2))
    assert "there is no file missing.conf" in wrong and "accessories.page.files" in wrong
    wrong = squeezed(project.freehold("accessory", "boot", "amdin", expect=2))
    assert "did you mean 'admin'" in wrong
    wrong = squeezed(project.freehold("accessory", "start", "ghost", expect=1))
    assert "there is no container shop-ghost" in wrong

    project.freehold("accessory", "remove_container", "admin")
    assert project.ask(web, "/version", name="admin.test").status != 200
    project.freehold("remove", "-y")
    for host in project.hosts:
        assert project.ask(host, "/version").status != 200
        assert host.exec("docker ps --all --quiet --filter label=service").stdout == ""
        assert "apps/" not in host.exec("cd /var/lib/freehold; ls -d apps/* 2>/dev/null || true").stdout


def several(project: Project) -> None:
    """On two hosts: replaced one after the other, and read at once."""
    before = {host: container(host, "shop-admin") for host in project.hosts}
    with project.traffic(websocket=False) as traffic:
        project.freehold("accessory", "upgrade", "admin", "--rolling", "-y", timeout=300)
        traffic.seen(5)
    after = {host: container(host, "shop-admin") for host in project.hosts}
    assert all(after[host] not in ("", before[host]) for host in project.hosts)
    # The last of what is done on one host comes before the first on the other.
    first, second = project.hosts
    assert happened(first, "destroy", before[first]) < happened(second, "die", before[second])
    with project.start("accessory", "logs", "admin", "-f", "-T", "-n", "0", "-g", "line-") as reading:

        def said(text: str) -> bool:
            for host in project.hosts:
                host.exec(f"docker exec shop-admin sh -c 'echo line-{text} >/proc/1/fd/1'")
            return all(f"{host.name} | line-{text}" in project.printed for host in project.hosts)

        project.until(lambda: said("here"), "lines of both hosts")
        os.kill(command_pid(reading.pid), signal.SIGINT)
        assert reading.wait(30) == 0


def handling(project: Project, web: Host) -> None:
    """One on a tag's hosts: its files and directories without a restart, and taken away piece by piece."""
    project.freehold("accessory", "pull_image", "side")
    project.freehold("accessory", "directories", "side")
    other = project.hosts[1]
    assert "kept" in other.exec(f"ls {HOME}/shop-side").stdout
    project.freehold("accessory", "boot", "side")
    assert (container(web, "shop-side"), bool(container(other, "shop-side"))) == ("", True)
    (project.directory / "side.conf").write_text("two")
    running = container(other, "shop-side")
    project.freehold("accessory", "upload", "side")
    assert other.read(f"{HOME}/shop-side/etc/side.conf") == "two"
    assert container(other, "shop-side") == running
    project.freehold("accessory", "remove_container", "side")
    project.freehold("accessory", "remove_service_directory", "side", "-y")
    assert other.exec(f"ls -d {HOME}/shop-side", check=False).stdout == ""
    project.freehold("accessory", "remove_image", "side")
    project.config["accessories"]["side"]["proxy"] = {"host": "side.test", "run": {"registry": "example.com"}}
    project.save()
    wrong = squeezed(project.freehold("accessory", "boot", "side", expect=2))
    assert "accessories.side.proxy.run.registry" in wrong and "config/deploy.yml:" in wrong
    del project.config["accessories"]["side"]
    project.save()
