"""What the proxy does for a service on real hosts: certificates, limits, log, pages, assets, maintenance."""

from __future__ import annotations

import base64
import json
import re
import threading
import urllib.parse
from typing import Any

import pytest

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, shown, squeezed
from tests.integration.app.tls import secure, self_signed
from tests.rig import Host, Rig
from tests.rig.request import Response

OLD, NEW = "app-1f2e3d4c.css", "app-9a8b7c6d.css"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    return Project(rig, hosts, control.directory)


def with_assets(project: Project, version: str, name: str) -> None:
    """An image whose public/assets holds a file of that name, and a packed one beside it."""
    project.image(version)
    make = (
        "import os, gzip; os.makedirs('/srv/public/assets'); "
        f"open('/srv/public/assets/{name}', 'w').write('css of {version}'); "
        f"open('/srv/public/assets/{name}.gz', 'wb').write(gzip.compress(b'css of {version}')); "
        f"open('/srv/public/assets/plain.css', 'w').write('plain of {version}')"
    )
    for host in project.hosts:
        reference = f"{project.config['image']}:{version}"
        text = f'FROM {reference}\nRUN ["python3", "-c", {json.dumps(make)}]\n'
        host.exec(f"DOCKER_BUILDKIT=0 docker build --quiet --tag {reference} -", stdin=text, timeout=120)


def test_everything_that_a_proxy_section_may_say(project: Project, rig: Rig) -> None:
    first = project.hosts[0]
    old_pair, new_pair = self_signed("shop.test"), self_signed("shop.test")
    pages = project.directory / "public"
    pages.mkdir()
    (pages / "413.html").write_text("<p>too much</p>")
    (pages / "504.html").write_text("<p>too late</p>")
    project.secrets |= {"CERT": old_pair[0], "PRIVATE": old_pair[1]}
    project.config |= {"error_pages_path": "public", "asset_path": "/srv/public/assets:ro"}
    project.config["proxy"] |= {
        "ssl": {"certificate_pem": "CERT", "private_key_pem": "PRIVATE"},
        "response_timeout": 5,
        "buffering": {"requests": True, "responses": True, "max_request_body": 1000, "memory": "64k"},
        "logging": {"request_headers": ["X-Trace"], "response_headers": ["Content-Type"]},
        # Redirected where it is asked in another way than visitors come.
        "healthcheck": {"path": "/secure", "interval": 0.3, "timeout": 2},
    }
    project.save()
    with_assets(project, "v1", OLD)
    with_assets(project, "v2", NEW)
    dry = shown(project.freehold("deploy", "--dry-run", "--skip-push", "--version", "v1", "-v"))
    said = shown(project.send("v1", "-v"))
    assert "BEGIN PRIVATE KEY" not in dry + said
    assert project.ask(first).headers["location"] == "https://shop.test/version"
    assert secure(rig, first, "shop.test")[0] == old_pair[0]
    # With HTTPS the client is a visitor, unless the file says that a balancer stands in front.
    claim = "X-Forwarded-For: 203.0.113.9\r\n"
    assert "203.0.113.9" not in secure(rig, first, "shop.test", "/request", more=claim)[1]
    modes = first.exec("stat -c '%a %G' /var/lib/freehold/proxy/certs/* /var/lib/freehold/proxy/certs").stdout
    assert set(modes.split("\n")) == {"640 freehold", "2770 freehold", ""}

    # Without the redirect the rest is seen over HTTP too.
    project.config["proxy"] |= {"ssl_redirect": False, "forward_headers": True}
    project.secrets |= {"CERT": new_pair[0], "PRIVATE": new_pair[1]}
    project.save()
    project.send("v2")
    assert secure(rig, first, "shop.test")[0] == new_pair[0]
    seen = json.loads(secure(rig, first, "shop.test", "/request", more=claim)[1])["headers"]
    assert seen["x-forwarded-for"].startswith("203.0.113.9, ")
    body = b"x" * 2000
    answer = project.ask(first, "/echo", method="POST", body=body[:900])
    assert (answer.status, answer.body) == (200, body[:900])
    answer = project.ask(first, "/echo", method="POST", body=body)
    assert (answer.status, answer.text.strip()) == (413, "<p>too much</p>")
    answer = project.ask(first, "/slow?seconds=9", headers={"X-Trace": "abc-123"})
    assert (answer.status, answer.text.strip()) == (504, "<p>too late</p>")
    logged = [json.loads(line) for line in first.read("/var/log/freehold-proxy/proxy.log").splitlines()]
    entry = next(line for line in logged if line.get("req_x_trace") == "abc-123")
    assert entry["service"] == "shop-web" and entry["status"] == 504
    assert "headers" not in entry["request"]
    assert any(line.get("resp_content_type") == "text/plain; charset=utf-8" for line in logged), logged[-3:]

    # Both versions' assets, from the disk; what is no fingerprint comes from the application.
    for name, version in ((OLD, "v1"), (NEW, "v2")):
        answer = project.ask(first, f"/assets/{name}")
        assert (answer.status, answer.text) == (200, f"css of {version}")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        packed = project.ask(first, f"/assets/{name}", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        # The application itself sees them in its own directory.
        assert project.ask(first, f"/assets/public/assets/{name}").text == f"css of {version}"
    assert project.ask(first, "/assets/plain.css").status == 404
    assert project.ask(first, "/assets/public/assets/plain.css").text == "plain of v2"

    project.rollback()
    assert secure(rig, first, "shop.test")[0] == old_pair[0]
    # A page of the newer version may still be open somewhere.
    assert secure(rig, first, "shop.test", f"/assets/{NEW}")[1] == "css of v2"
    project.config["asset_path"] = "/srv/nowhere"
    project.save()
    failed = squeezed(project.deploy("v3", expect=1))
    assert "/srv/nowhere could not be copied out of freehold/shop:v3" in failed
    project.freehold("app", "remove", "-y")
    assert first.exec("ls /var/lib/freehold/proxy/current /var/lib/freehold/apps").stdout.split() == [
        "/var/lib/freehold/apps:",
        "/var/lib/freehold/proxy/current:",
    ]


def test_what_an_answer_makes_the_proxy_do(project: Project) -> None:
    project.hosts = (project.hosts[0],)
    (first,) = project.hosts
    name = "plan b?100%.txt"
    first.exec("mkdir -p /srv/shop/storage/a && echo outside >/srv/shop/secret && chmod -R a+rX /srv/shop")
    first.write(f"/srv/shop/storage/a/{name}", "0123456789")
    project.config["servers"]["web"]["hosts"] = [first.name]
    project.config["volumes"] = ["/srv/shop/storage:/srv/storage:ro"]
    project.config["proxy"] |= {"sendfile": ["/srv/storage"], "buffering": {"max_response_body": "100k"}}
    # Leads to the service's name, which nobody serves yet.
    project.config["proxy"] |= {"healthcheck": {"path": "/moved", "interval": 0.3, "timeout": 2}}
    project.save()
    project.deploy("v1")
    (state,) = json.loads(project.freehold("status", "--json").stdout)
    assert [container["health"] for container in state["containers"]] == ["healthy"]

    def named(path: str, header: str = "X-Sendfile", **more: Any) -> Response:
        query = urllib.parse.urlencode({"header": header, "path": path})
        return project.ask(first, f"/named?{query}", **more)

    encoded = "/srv/storage/a/" + urllib.parse.quote(name)
    for answer in (named(f"/srv/storage/a/{name}"), named(encoded, "X-Accel-Redirect")):
        assert (answer.status, answer.text) == (200, "0123456789")
        # The application's headers, but not where the file is.
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["content-type"] == "text/x-own"
        assert not {"x-sendfile", "x-accel-redirect"} & set(answer.headers)
    part = named(f"/srv/storage/a/{name}", headers={"Range": "bytes=2-4"})
    assert (part.status, part.text) == (206, "234")
    assert named(f"/srv/storage/a/{name}", method="POST", body=b"x").text == "0123456789"
    for header in ("X-Sendfile", "X-Accel-Redirect"):
        assert named("/etc/hostname", header).status == 403
        for path in ("none", "../secret", "%2e%2e/secret", "a/../../secret", "a"):
            answer = named(f"/srv/storage/{path}", header)
            assert answer.status in (403, 404) and "outside" not in answer.text, path
    # Nobody but the proxy says which header it understands.
    asked = {"X-Sendfile-Type": "X-Accel-Redirect", "X-Accel-Mapping": "/=/srv/storage/"}
    seen = project.ask(first, "/request", headers=asked).json()["headers"]
    assert seen["x-sendfile-type"] == "X-Sendfile" and "x-accel-mapping" not in seen
    # Each request has a number and a time, its own or the proxy's.
    assert re.fullmatch(r"[0-9a-f-]{36}", seen["x-request-id"])
    assert re.fullmatch(r"t=1[0-9]{12}", seen["x-request-start"])
    asked = {"X-Request-ID": "mine", "X-Request-Start": "t=1", "X-Forwarded-For": "203.0.113.9"}
    seen = project.ask(first, "/request", headers=asked).json()["headers"]
    assert (seen["x-request-id"], seen["x-request-start"]) == ("mine", "t=1")
    # Without HTTPS a balancer is taken to stand in front.
    assert seen["x-forwarded-for"].startswith("203.0.113.9, ")

    assert len(project.ask(first, "/large?bytes=102400").body) == 102400
    assert project.ask(first, "/large?bytes=102401").status == 500
    assert project.ask(first, "/large?bytes=102401", method="HEAD").status == 200
    # What comes in pieces passes.
    assert project.ask(first, "/stream?chunks=2").text == "v1 0\nv1 1\n"


def test_maintenance_and_pause_outlast_deploys_restarts_and_reboots(project: Project) -> None:
    first, second = project.hosts
    project.deploy("v1")
    # Requests wait while the role is paused, whatever is deployed; none is lost.
    project.freehold("app", "pause")
    project.deploy("v2")
    answers: list[Response] = []
    waiting = [
        threading.Thread(target=lambda host=host: answers.append(project.ask(host, timeout=40)))
        for host in project.hosts
    ]
    for thread in waiting:
        thread.start()
    waiting[0].join(1)
    assert all(thread.is_alive() for thread in waiting)
    # A load balancer in front is to leave the hosts in.
    assert [project.ask(host, "/up", timeout=5).status for host in project.hosts] == [200, 200]
    project.freehold("app", "resume")
    for thread in waiting:
        thread.join()
    assert [answer.text.strip() for answer in answers] == ["v2", "v2"]

    project.freehold("app", "maintenance", "--message", "Back at <noon>")

    def closed(host: Host, **more: Any) -> bool:
        answer = project.ask(host, **more)
        return answer.status == 503 and "Back at &lt;noon&gt;" in answer.text

    assert closed(first) and closed(second) and closed(first, method="POST", body=b"x")
    assert (project.ask(first, "/up").status, project.ask(first, "/up", method="HEAD").status) == (200, 200)
    assert closed(first, path="/up", method="POST", body=b"x")
    project.deploy("v3")
    first.restart_service("freehold-proxy")
    second.reboot()
    project.until(lambda: project.answers(second), "the proxy after the reboot")
    assert closed(first) and closed(second)
    project.freehold("app", "live")
    project.until(lambda: project.answered() == ("v3", "v3"), "the application after the reboot")
    assert project.serving() == ("v3", "v3")
    own = project.directory / "own.html"
    own.write_text("<h1>{{ .Message }}</h1>")
    words = ("app", "maintenance", "--page", "own.html", "--message", "soon", "-h", "web-2")
    # An answer without end, for which the file would wait longer than anybody waits for the command.
    project.config["drain_timeout"] = 600
    project.save()
    url = "http://127.0.0.1/stream?chunks=1000000"
    second.exec(f"systemd-run --quiet --unit=reader curl -sN -o /tmp/read -H 'Host: shop.test' '{url}'")
    second.exec("until [ -s /tmp/read ]; do sleep 0.1; done")
    project.freehold(*words, "--drain-timeout", "0")
    assert second.exec("systemctl is-active reader").stdout == "active\n"
    second.exec("systemctl stop reader")
    assert project.ask(second).text.strip() == "<h1>soon</h1>"
    assert project.ask(first).text.strip() == "v3"
    project.freehold("app", "live")
    refused = squeezed(project.freehold("app", "maintenance", "-r", "nobody", expect=2))
    assert "no role matches nobody" in refused


def test_a_version_is_tried_on_a_share_of_the_visitors(project: Project) -> None:
    first = project.hosts[0]
    project.config["servers"]["jobs"] = {"hosts": ["web-2"], "cmd": images.worker('"working"')}
    project.save()
    project.deploy("v1")
    project.image("v2")
    project.image("v3")
    project.image("sick", "unhealthy")

    def version(cookie: str = "", **more: str) -> str:
        headers = {"Cookie": f"freehold_split={cookie}"} if cookie else {}
        return project.ask(first, headers=headers | more).text.strip()

    # One by hand, and three times other visitors are chosen.
    with project.traffic(reloads=4 * len(project.hosts), fresh_every=1) as traffic:
        # Caddy takes its configuration anew: WebSockets are none the wiser.
        report = traffic.load.report()
        for host in project.hosts:
            host.exec("systemctl reload freehold-proxy")
        project.until(lambda: traffic.load.report().messages >= report.messages + 8, "more messages")
        assert traffic.load.report().reopened == report.reopened
        before = project.state()
        with project.impatient():
            failed = squeezed(project.freehold("canary", "10%", "-P", "--version", "sick", expect=1))
        assert "answered 503" in failed
        project.same_as(before)
        project.freehold("canary", "50%", "-P", "--version", "v2")
        # Only what visitors reach is tried; each keeps its version.
        assert set(project.containers(project.hosts[1], everything=False)) == {
            *("shop-web-v1", "shop-web-v2", "shop-jobs-v1")
        }
        assert (version("00"), version("7f"), version("80"), version("ff")) == ("v2", "v2", "v1", "v1")
        assert (version("canary"), version("stable")) == ("v2", "v1")
        drawn = [project.ask(first) for _ in range(30)]
        assert {answer.text.strip() for answer in drawn} == {"v1", "v2"}
        for answer in drawn[:5]:
            share = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
            assert version(share) == answer.text.strip()
        chosen = ["header X-Beta=1", "cookie beta=yes"]
        project.freehold("canary", "0%", *(word for one in chosen for word in ("--allow", one)))
        assert (version("00"), version("canary")) == ("v1", "v2")
        beta = {"Cookie": "freehold_split=stable; beta=yes"}
        assert (version("00", **{"X-Beta": "1"}), version(**beta)) == ("v2", "v2")
        assert version("00", **{"X-Beta": "2"}) == "v1"
        found = json.loads(project.freehold("canary", "status", "--json").stdout)
        assert [(one["role"], one["version"], one["percent"], one["allowed"]) for one in found] == [
            ("shop-web", "v2", 0.0, chosen)
        ] * 2
        project.freehold("canary", "0%", "--allow", "address 198.18.0.0/15")
        assert version("ff") == version("stable") == "v2"
        refused = squeezed(project.freehold("canary", "10%", "-P", "--version", "v3", expect=2))
        assert "being tried already: v2" in refused
        project.freehold("canary", "abort")
        project.same_as(before)
        traffic.seen(10)
        project.freehold("canary", "20%", "-P", "--version", "v3")
        # Whom another trial chose is chosen no more.
        assert version("ff") == "v1"
        traffic.seen(10)
        project.freehold("canary", "promote")
        assert project.serving() == ("v3", "v3")
        assert version("ff") == version("canary") == "v3"
        assert "set-cookie" not in project.ask(first).headers
        traffic.seen(10)
    assert set(project.containers(project.hosts[1], everything=False)) == {"shop-web-v3", "shop-jobs-v3"}
    assert "no version is being tried" in squeezed(project.freehold("canary", "promote", expect=2))
    assert "more than all" in squeezed(project.freehold("canary", "101%", expect=2))


def test_what_serves_is_not_tried_and_what_is_kept_stays_so(project: Project) -> None:
    project.deploy("v1")
    project.deploy("v2")
    before = project.state()
    refused = squeezed(project.freehold("canary", "10%", "-P", "--version", "v2", expect=2))
    assert "v2 serves already on web-1, web-2" in refused
    project.same_as(before)
    project.freehold("canary", "20%", "-P", "--version", "v1")
    done = json.loads(project.freehold("canary", "50%", "--json").stdout)
    assert done == {"version": "v1", "result": "tried", "percent": 50}
    assert project.ask(project.hosts[0], headers={"Cookie": "freehold_split=canary"}).text.strip() == "v1"
    done = json.loads(project.freehold("canary", "abort", "--json").stdout)
    assert done == {"version": "v1", "result": "aborted"}
    project.same_as(before)
    project.rollback()
    assert project.settled("v1")


def test_what_was_tried_is_everywhere_when_it_is_promoted(project: Project) -> None:
    """Built here and sent over SSH; a host that no request reaches gets the image with the others."""
    web, worker = project.hosts
    project.config["servers"] = {
        "web": {"hosts": ["web-1"]},
        "jobs": {"hosts": ["web-2"], "cmd": images.worker('"working"')},
    }
    project.config |= {"builder": {"context": ".", "spread": True}, "output": {"file": {"path": "log"}}}
    project.save()
    project.deploy("v1")
    made = f"docker create --name shop-root {images.APP} >/dev/null"
    export = f"{made} && docker export shop-root | gzip -1 | base64; docker rm shop-root >/dev/null"
    (project.directory / "root.tar").write_bytes(base64.b64decode(web.exec(export).stdout))
    (project.directory / "Dockerfile").write_text(
        "FROM scratch\nADD root.tar /\nWORKDIR /srv\n"
        "ENV APP_VERSION=sent APP_MODE=ok PATH=/usr/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1\n"
        'CMD ["python3", "server.py"]\n'
    )
    (project.directory / ".dockerignore").write_text("*\n!root.tar\n")
    assert worker.exec("docker images --quiet freehold/shop:sent").stdout == ""
    done = json.loads(project.freehold("canary", "10%", "--version", "sent", "--json", timeout=400).stdout)
    assert (done["version"], done["result"], done["percent"]) == ("sent", "tried", 10)
    # It left this computer once.
    (log,) = (path.read_text() for path in (project.directory / "log").glob("*canary*"))
    assert re.search(r"from web-[12]\b", log) and "sent its own" not in log, log
    assert set(done["execs"]) == {"web-1", "web-2"}
    assert set(project.containers(worker)) == {"shop-jobs-v1"}
    assert worker.exec("docker images --quiet freehold/shop:sent").stdout != ""
    project.freehold("canary", "promote")
    assert project.ask(web).text.strip() == "sent"
    assert set(project.containers(worker, everything=False)) == {"shop-jobs-sent"}
