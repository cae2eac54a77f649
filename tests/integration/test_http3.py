"""HTTP/3 on real hosts: offered, spoken, and without a lost request while versions change."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.conftest import Control
from tests.integration.app.http3 import Visitor
from tests.integration.app.project import Project
from tests.integration.app.tls import self_signed
from tests.rig import Host, Rig

SITE = "shop.test"
AUTHORITY = "/root/shop.pem"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control, trixie: Host) -> Project:
    """One host, and a certificate that the visitor's computer trusts."""
    made = Project(rig, hosts[:1], control.directory)
    certificate, key = self_signed(SITE)
    trixie.write(AUTHORITY, certificate)
    made.secrets |= {"CERT": certificate, "PRIVATE": key}
    made.config["servers"]["web"]["hosts"] = [hosts[0].name]
    made.config["proxy"] |= {"ssl": {"certificate_pem": "CERT", "private_key_pem": "PRIVATE"}}
    # A stream that began before a switch may end after it.
    made.config["drain_timeout"] = 60
    made.save()
    made.deploy("v1")
    return made


@pytest.fixture
def visitor(project: Project, trixie: Host) -> Visitor:
    return Visitor(trixie, project.hosts[0], SITE, trusts=AUTHORITY)


def test_visitors_are_offered_http3_and_come_by_it(project: Project, visitor: Visitor) -> None:
    (host,) = project.hosts
    # By HTTP/2 first, as nobody knows better; the answer says how else, and the next request takes that.
    visitor.at.exec("rm -f /root/known")
    once = ("--alt-svc", "/root/known", "-o", "/dev/null", "-w", "%{http_version}")
    assert [visitor.get("/version", *once, only=False) for _ in range(2)] == ["2", "3"]
    # The certificate is looked at: this one is trusted by nobody else.
    stranger = Visitor(visitor.at, host, SITE, trusts="/etc/ssl/certs/ca-certificates.crt")
    done = visitor.at.exec(stranger.curl(stranger.url("/version")), check=False)
    assert (done.returncode, done.stdout) == (60, "")

    seen = json.loads(visitor.get("/request", "-H", "X-Own: 1"))["headers"]
    assert (seen["host"], seen["x-own"], seen["x-forwarded-proto"]) == (SITE, "1", "https")
    assert seen["x-forwarded-for"] == visitor.at.address
    # Bodies of many packets, there and back.
    body = hashlib.sha256(b"").digest() * 1900
    visitor.at.write("/root/body", body.hex()[: len(body)])
    visitor.get("/echo", "--data-binary", "@/root/body", "-o", "/root/back")
    assert visitor.at.exec("cmp /root/body /root/back && stat -c %s /root/back").stdout == "60800\n"
    assert visitor.get("/large?bytes=5000000", "-o", "/dev/null", "-w", "%{size_download}") == "5000000"
    assert visitor.get("/stream?chunks=3") == "v1 0\nv1 1\nv1 2\n"
    head = visitor.get("/version", "--head")
    assert head.startswith("HTTP/3 200") and "x-version: v1" in head
    logged = [json.loads(line) for line in host.read("/var/log/freehold-proxy/proxy.log").splitlines()]
    requests = [one["request"] for one in logged if "request" in one]
    mine = [one for one in requests if (one["remote_ip"], one["uri"]) == (visitor.at.address, "/request")]
    assert [one["proto"] for one in mine] == ["HTTP/3.0"]

    # The socket is systemd's: it outlives the configuration and the program.
    for how in ("reload", "restart"):
        host.exec(f"systemctl {how} freehold-proxy")
        assert visitor.get("/version") == "v1\n", how


def test_a_deploy_and_a_rollback_lose_no_request(project: Project, visitor: Visitor) -> None:
    project.image("v2")
    read = visitor.at.read

    def answers(out: str, version: str) -> int:
        """How many a version has given."""
        return sum(count for line, count in visitor.told(out).items() if line.endswith(version))

    going_on = visitor.going_on
    with (
        going_on("kept", visitor.kept("/version")) as kept,
        going_on("fresh", visitor.fresh("/version")) as fresh,
    ):

        def more(version: str) -> None:
            goals = {out: answers(out, version) + 10 for out in (kept, fresh)}
            project.until(
                lambda: all(answers(out, version) >= goal for out, goal in goals.items()),
                f"more answers of {version}",
            )

        more("v1")
        with going_on("long", visitor.stream("/stream?chunks=100")) as stream:
            project.until(lambda: "v1 0" in read(stream), "the stream")
            project.send("v2")
            # Of the version that it began with, to the end.
            text = "".join(f"v1 {number}\n" for number in range(100))
            project.until(lambda: read(stream) == text, "the end of the stream")
        more("v2")
        project.rollback()
        more("v1")
        found = visitor.told(kept), visitor.told(fresh)
    # No reload has closed the connection that was made first.
    assert found[0].pop("3 200 0 1 v1") == 1
    assert set(found[0]) == {"3 200 0 0 v1", "3 200 0 0 v2"}, found[0]
    assert set(found[1]) == {"3 200 0 1 v1", "3 200 0 1 v2"}, found[1]
