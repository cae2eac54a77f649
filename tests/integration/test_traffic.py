"""What the proxy does for a service on real hosts: certificates, limits, log, pages, assets, maintenance."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, basic, shown, squeezed
from tests.rig import Host, Rig
from tests.rig.request import Response

OLD, NEW = "app-1f2e3d4c.css", "app-9a8b7c6d.css"


def self_signed(name: str) -> tuple[str, str]:
    """A certificate for a name and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def secure(rig: Rig, host: Host, name: str, path: str = "/version", port: int = 443) -> tuple[str, str]:
    """The certificate that a host shows for a name, PEM, and its answer over HTTPS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(rig.control_connect(host.address, port), server_hostname=name) as wrapped:
        shown = wrapped.getpeercert(binary_form=True)
        wrapped.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown), answer.partition(b"\r\n\r\n")[2].decode()


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
        "response_timeout": 1,
        "buffering": {"requests": True, "responses": True, "max_request_body": 1000, "memory": "64k"},
        "logging": {"request_headers": ["X-Trace"], "response_headers": ["Content-Type"]},
    }
    project.save()
    with_assets(project, "v1", OLD)
    with_assets(project, "v2", NEW)
    dry = shown(project.freehold("deploy", "--dry-run", "--skip-push", "--version", "v1", "-v"))
    said = shown(project.send("v1", "-v"))
    assert "BEGIN PRIVATE KEY" not in dry + said
    assert project.ask(first).headers["location"] == "https://shop.test/version"
    assert secure(rig, first, "shop.test")[0] == old_pair[0]
    modes = first.exec("stat -c '%a %G' /var/lib/freehold/proxy/certs/* /var/lib/freehold/proxy/certs").stdout
    assert set(modes.split("\n")) == {"640 freehold", "2770 freehold", ""}

    # Without the redirect the rest is seen over HTTP too.
    project.config["proxy"]["ssl_redirect"] = False
    project.secrets |= {"CERT": new_pair[0], "PRIVATE": new_pair[1]}
    project.save()
    project.send("v2")
    assert secure(rig, first, "shop.test")[0] == new_pair[0]
    body = b"x" * 2000
    answer = project.ask(first, "/echo", method="POST", body=body[:900])
    assert (answer.status, answer.body) == (200, body[:900])
    answer = project.ask(first, "/echo", method="POST", body=body)
    assert (answer.status, answer.text.strip()) == (413, "<p>too much</p>")
    answer = project.ask(first, "/slow?seconds=3", headers={"X-Trace": "abc-123"})
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
    project.save()
    project.deploy("v1")

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
    project.freehold("app", "resume")
    for thread in waiting:
        thread.join()
    assert [answer.text.strip() for answer in answers] == ["v2", "v2"]

    project.freehold("app", "maintenance", "--message", "Back at <noon>")

    def closed(host: Host, **more: Any) -> bool:
        answer = project.ask(host, **more)
        return answer.status == 503 and "Back at &lt;noon&gt;" in answer.text

    assert closed(first) and closed(second) and closed(first, method="POST", body=b"x")
    project.deploy("v3")
    first.restart_service("freehold-proxy")
    second.reboot()
    project.until(lambda: answered(project, second), "the proxy after the reboot")
    assert closed(first) and closed(second)
    project.freehold("app", "live")
    project.until(lambda: project.ask(second).status == 200, "the application after the reboot")
    assert project.serving() == ("v3", "v3")
    own = project.directory / "own.html"
    own.write_text("<h1>{{ .Message }}</h1>")
    project.freehold("app", "maintenance", "--page", "own.html", "--message", "soon", "-h", "web-2")
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

    def version(cookie: str = "") -> str:
        headers = {"Cookie": f"freehold_split={cookie}"} if cookie else {}
        return project.ask(first, headers=headers).text.strip()

    with project.traffic(fresh_every=1) as traffic:
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
        project.freehold("canary", "0%")
        assert (version("00"), version("canary")) == ("v1", "v2")
        found = json.loads(project.freehold("canary", "status", "--json").stdout)
        assert [(one["role"], one["version"], one["percent"]) for one in found] == [
            ("shop-web", "v2", 0.0)
        ] * 2
        refused = squeezed(project.freehold("canary", "10%", "-P", "--version", "v3", expect=2))
        assert "being tried already: v2" in refused
        project.freehold("canary", "abort")
        project.same_as(before)
        traffic.seen(10)
        project.freehold("canary", "20%", "-P", "--version", "v3")
        traffic.seen(10)
        project.freehold("canary", "promote")
        assert project.serving() == ("v3", "v3")
        assert version("ff") == version("canary") == "v3"
        assert "set-cookie" not in project.ask(first).headers
        traffic.seen(10)
    assert set(project.containers(project.hosts[1], everything=False)) == {"shop-web-v3", "shop-jobs-v3"}
    assert "no version is being tried" in squeezed(project.freehold("canary", "promote", expect=2))
    assert "more than all" in squeezed(project.freehold("canary", "101%", expect=2))


def shakes_hands(rig: Rig, host: Host, port: int) -> bool:
    try:
        return bool(secure(rig, host, "shop.test", port=port)[0])
    except OSError:
        return False


def answered(project: Project, host: Host) -> bool:
    try:
        return bool(project.ask(host).status)
    except OSError:
        return False


@pytest.fixture
def stock(project: Project) -> Iterator[Project]:
    """Hosts whose proxy runs as it was, whatever the test left behind."""
    yield project
    line = "systemctl is-active freehold-proxy && head -n 1 /etc/freehold/proxy/Caddyfile"
    usual = "active\n# listens: http=80 https=443 log=10m\n"
    if any(host.exec(line, check=False).stdout != usual for host in project.hosts):
        project.config = basic()
        project.save()
        (project.directory / "config" / "host.yml").unlink(missing_ok=True)
        project.freehold("proxy", "boot", timeout=300)


def test_the_proxy_as_a_service_of_the_host(stock: Project, rig: Rig) -> None:
    project, first = stock, stock.hosts[0]
    project.hosts = (first,)
    project.config["servers"]["web"]["hosts"] = [first.name]
    project.save()
    project.deploy("v1")

    def details() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(project.freehold("proxy", "details", "--json").stdout)
        return found

    before = details()
    assert [one["state"] for one in before] == ["active"]
    assert before[0]["sites"] == ["shop.test"]
    assert before[0]["targets"][0]["name"] == "shop-web" and before[0]["targets"][0]["mode"] == ""
    project.freehold("app", "pause")
    assert [one["targets"][0]["mode"] for one in details()] == ["paused"]
    project.freehold("app", "live")

    # What is said about it: the log.
    project.ask(first, "/version?mark=here")
    lines = project.freehold("proxy", "logs", "--grep", "mark=here", "-h", "web-1").stdout.splitlines()
    assert [json.loads(line)["request"]["uri"] for line in lines] == ["/version?mark=here"]
    assert "mark=here" in project.freehold("proxy", "logs", "--since", "10m", "-n", "500").stdout
    assert "mark=here" not in project.freehold("proxy", "logs", "--since", "2099-01-01").stdout
    assert "is no time" in squeezed(project.freehold("proxy", "logs", "--since", "soon", expect=2))
    following = project.start("proxy", "logs", "-f", "-h", "web-1")
    project.until(
        lambda: bool(project.ask(first, "/version?mark=there")) and "there" in project.printed, "log"
    )
    following.stop()

    project.freehold("proxy", "stop")
    with pytest.raises(OSError):
        project.ask(first)
    project.freehold("proxy", "start")
    project.until(lambda: answered(project, first), "the proxy after its start")

    # Another program under load: nobody is refused, and the sockets are the same.
    program = "/usr/local/bin/caddy"
    first.exec(f"mv {program} {program}.real")
    wrapper = f'#!/bin/sh\n[ "$1" != version ] || exec echo v2.11.0 h1:old\nexec {program}.real "$@"\n'
    first.write(program, wrapper, 0o755)
    first.restart_service("freehold-proxy")
    assert details()[0]["version"] == "v2.11.0"
    with project.traffic(websocket=False, slow_every=0, fresh_every=1) as traffic:
        project.freehold("proxy", "upgrade", "-y", "--rolling", timeout=300)
        traffic.seen(10)
    assert details()[0]["version"] == before[0]["version"]
    assert first.exec(f"cmp {program} {program}.real").stdout == ""

    # Other ports: the deploy says what is wrong, `proxy reboot` puts it right.
    project.config["proxy"]["run"] = {"http_port": 8081, "https_port": 8443, "metrics_port": 9101}
    project.config["proxy"] |= {"ssl": True, "ssl_redirect": False}
    profile = project.directory / "config" / "host.yml"
    profile.write_text("proxy: {acme_ca: internal}\n")
    project.save()
    failed = squeezed(project.send("v1", expect=1))
    assert "http=8081 is not among http=80" in failed and "freehold proxy reboot" in failed
    for name in ("pre-proxy-reboot", "post-proxy-reboot"):
        hook = project.directory / ".freehold" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f'#!/bin/sh\necho {name} $KAMAL_HOSTS >>"{project.directory}/hooked"\n')
        hook.chmod(0o755)
    project.freehold("proxy", "reboot", "-y", timeout=300)
    hooked = (project.directory / "hooked").read_text()
    assert hooked == "pre-proxy-reboot web-1\npost-proxy-reboot web-1\n"
    assert [one["listens"] for one in details()] == ["http=8081 https=8443 metrics=9101 log=10m"]
    kept = json.loads(project.freehold("proxy", "boot_config", "get", "--json").stdout)
    assert kept == {"web-1": "http=8081 https=8443 metrics=9101 log=10m"}
    for words in (("boot_config", "set", "--http-port", "8081"), ("remove_container",)):
        assert "freehold proxy" in squeezed(project.freehold("proxy", *words, expect=2))
    with pytest.raises(OSError):
        project.ask(first)
    assert rig.http(first, "/version", port=8081, host="shop.test").text.strip() == "v1"
    assert "caddy_http_requests_total" in first.exec("curl -s http://127.0.0.1:9101/metrics").stdout
    project.deploy("v2")
    assert rig.http(first, "/version", port=8081, host="shop.test").text.strip() == "v2"
    # The certificate is made when it is first asked for; here the host signs it itself.
    project.until(lambda: shakes_hands(rig, first, 8443), "a certificate of the host's own")
    assert secure(rig, first, "shop.test", port=8443)[1].strip() == "v2"
    project.config["proxy"]["run"] = {"publish": False}
    project.save()
    project.freehold("proxy", "reboot", "-y", timeout=300)
    with pytest.raises(OSError):
        rig.http(first, "/version", port=8081, host="shop.test")
    request = "Request('http://172.30.0.1/version', headers={'Host': 'shop.test'})"
    inside = f"from urllib.request import *; print(urlopen({request}, timeout=10).read().decode())"
    asked = first.exec(("docker", "exec", "shop-web-v2", "python3", "-c", inside)).stdout
    assert asked.strip() == "v2"
    del project.config["proxy"]["run"]
    project.save()
    kept = squeezed(project.freehold("proxy", "remove", "-y", expect=1))
    assert "the proxy still serves shop-web" in kept
    assert "proxy.run" not in kept
    profile.unlink()
    project.freehold("app", "remove", "-y")
    project.freehold("proxy", "remove", "-y", timeout=300)
    assert first.exec("systemctl is-active freehold-proxy", check=False).stdout == "inactive\n"
    project.freehold("proxy", "boot", timeout=300)
    assert [one["listens"] for one in details()] == ["http=80 https=443 log=10m"]
