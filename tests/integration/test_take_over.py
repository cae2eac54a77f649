"""The proxy's process is replaced: what is open stays with the former one, and nobody is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import Control
from tests.integration.app import proxylog
from tests.integration.app.project import Project, squeezed
from tests.integration.app.talk import talk
from tests.integration.app.tls import secure
from tests.rig import Host, Rig

CADDY = "/usr/local/bin/caddy"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Iterator[Project]:
    made = Project(rig, hosts[:1], control.directory)
    made.config["servers"]["web"]["hosts"] = ["web-1"]
    made.config["proxy"]["stream_timeout"] = 7200
    made.save()
    # Another file's visitor may still hold a former process.
    hosts[0].restart_service("freehold-proxy")
    made.deploy("v1")
    yield made
    host = hosts[0]
    if host.exec(f"[ ! -e {CADDY}.real ] || mv {CADDY}.real {CADDY}; systemctl is-active freehold-proxy"):
        host.restart_service("freehold-proxy")


def processes(host: Host) -> list[int]:
    """The Caddys that serve, the one that began last at the end; another may look at what was accepted."""
    found = host.exec("ps -o pid=,args= --sort=start_time,pid -C caddy,caddy.real").stdout.splitlines()
    return [int(line.split()[0]) for line in found if " run " in line]


class Download(threading.Thread):
    """An answer of many seconds; `text` is all of it."""

    def __init__(self, project: Project) -> None:
        super().__init__(daemon=True)
        self._project, self.text = project, ""

    def run(self) -> None:
        self.text = self._project.ask(self._project.hosts[0], "/stream?chunks=120", timeout=120).text


def test_what_is_open_outlives_the_process(project: Project) -> None:
    host = project.hosts[0]
    proxylog.turn(host, 10)
    (first,) = processes(host)
    main = host.exec("systemctl show -p MainPID --value freehold-proxy").stdout
    with talk(project, host) as one, project.traffic(reloads=3, websocket=False, fresh_every=2) as traffic:
        download = Download(project)
        download.start()
        project.freehold("proxy", "restart")
        (_, second) = processes(host)
        assert second != first and one.open and project.serving() == ("v1",)
        # Again, while the first has not ended; deploys speak to the one that serves.
        with talk(project, host) as two:
            project.freehold("proxy", "restart")
            third = processes(host)[-1]
            assert processes(host) == [first, second, third] and one.open and two.open
            project.config["proxy"]["buffering"] = {"max_request_body": 1000}
            project.save()
            project.send("v1")
            assert project.ask(host, method="POST", body=b"x" * 2000).status == 413
            traffic.seen(10)
        project.until(lambda: processes(host) == [first, third], "the end of the second one")
        download.join()
        assert download.text.count("\n") == 120
        assert one.open
    project.until(lambda: processes(host) == [third], "the end of the first one")
    # What the first one had to say of it at the end is whole, and so is what the others said.
    asked = [entry["request"]["uri"] for entry in proxylog.entries(host) if "request" in entry]
    assert asked.count("/stream?chunks=120") == 1
    assert host.exec("systemctl show -p MainPID --value freehold-proxy").stdout == main
    host.exec("systemctl stop freehold-proxy")
    assert host.exec("systemctl is-active freehold-proxy", check=False).stdout == "inactive\n"
    host.exec("systemctl start freehold-proxy")
    assert project.serving() == ("v1",)


@pytest.fixture
def secured(project: Project) -> Iterator[Project]:
    """HTTPS too, with certificates that the host signs itself."""
    profile = project.directory / "config" / "host.yml"
    profile.write_text("proxy: {acme_ca: internal}\n")
    project.config["proxy"] |= {"ssl": True, "ssl_redirect": False}
    project.save()
    project.freehold("proxy", "boot", timeout=300)
    project.send("v1")
    yield project
    profile.unlink()
    project.freehold("proxy", "boot", timeout=300)


def test_another_program_and_one_that_does_not_start(secured: Project, rig: Rig) -> None:
    project, host = secured, secured.hosts[0]
    shown = secure(rig, host, "shop.test")
    assert shown[1].strip() == "v1"
    host.exec(f"mv {CADDY} {CADDY}.real")
    wrapper = f'#!/bin/sh\n[ "$1" != version ] || exec echo v2.11.0 h1:old\nexec {CADDY}.real "$@"\n'
    host.write(CADDY, wrapper, 0o755)
    host.restart_service("freehold-proxy")
    proxylog.turn(host, 10)
    with talk(project, host) as one, project.traffic(reloads=2, websocket=False, fresh_every=2) as traffic:
        (first,) = processes(host)
        project.freehold("proxy", "upgrade", "-y", timeout=300)
        (found,) = json.loads(project.freehold("proxy", "details", "--json").stdout)
        assert found["state"] == "active" and found["version"] != "v2.11.0"
        second = processes(host)[-1]
        assert second != first and one.open
        # Both work with the same files.
        assert secure(rig, host, "shop.test") == shown
        # There is nothing to be done any more.
        project.freehold("proxy", "upgrade", "-y", timeout=300)
        assert processes(host) == [first, second]
        traffic.seen(10)

        # The next one ends at once: the former has its sockets again.
        broken = f'#!/bin/sh\n[ "$1" != run ] || exit 3\nexec {CADDY}.real "$@"\n'
        host.exec(f"cp {CADDY} {CADDY}.real; rm {CADDY}")
        host.write(CADDY, broken, 0o755)
        failed = squeezed(project.freehold("proxy", "restart", expect=1))
        assert "the new process does not start, and the former serves on" in failed
        assert processes(host) == [first, second] and one.open and project.serving() == ("v1",)
        traffic.seen(10)
        host.exec(f"mv {CADDY}.real {CADDY}")
        project.freehold("proxy", "restart")
        assert processes(host)[-1] != second and one.open
        assert "v1" in squeezed(project.freehold("app", "version"))
    assert proxylog.entries(host)
