"""Hosts behind a load balancer: spread, switched, cut off, back again; HTTPS that ends in front of them."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deployer.load import Load, LoadPlan
from deployer.load.plan import Target
from tests.conftest import Control
from tests.integration.app.authority import DIRECTORY, Authority
from tests.integration.app.project import Project, basic, shown, squeezed
from tests.integration.test_acme import shown as secured
from tests.rig import Host, HostSpec, Rig

ASKED = 40
LOG = "/var/log/freehold-proxy/proxy.log"


@pytest.fixture(scope="module")
def balancer(rig: Rig) -> Iterator[Host]:
    """A host in front of the others, for this file only, which they find by its name too."""
    made = rig.boot(HostSpec("lb-1"))[0]
    for host in (rig["web-1"], rig["web-2"]):
        host.exec(f"echo '{made.address} lb-1' >>/etc/hosts")
    yield made
    for host in (rig["web-1"], rig["web-2"]):
        host.exec("sed -i '/ lb-1$/d' /etc/hosts")
    rig.remove("lb-1")


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], balancer: Host, control: Control) -> Project:
    balancer.reset()
    made = Project(rig, hosts, control.directory)
    made.config["proxy"]["loadbalancer"] = "lb-1"
    made.save()
    return made


def seen_from(project: Project, *hosts: Host) -> Project:
    """The same project, where these hosts are asked."""
    return dataclasses.replace(project, hosts=hosts)


def answering(project: Project, host: Host) -> set[str]:
    """The hosts that answer behind one."""
    answers = [project.ask(host, "/environment") for _ in range(ASKED)]
    assert {answer.status for answer in answers} == {200}, [answer.text for answer in answers][:3]
    return {answer.json()["KAMAL_HOST"] for answer in answers}


def behind(project: Project, *, down: bool = False) -> dict[str, str]:
    """How the hosts behind the balancer are by `proxy details`; `status` has to say the same."""
    found = json.loads(project.freehold("proxy", "details", "--json", expect=int(down)).stdout)
    rows = {row["address"]: row["state"] for one in found for row in one.get("behind", [])}
    ill = down or any(rows.values())
    status = json.loads(project.freehold("status", "--json", expect=int(ill)).stdout)
    assert {row["address"]: row["state"] for one in status for row in one["behind"]} == rows
    return rows


def out(balancer: Host, address: str) -> bool:
    """Whether the balancer's proxy has just found a host ill."""
    lines = f"grep health_checker {LOG} | grep -F {address}:80"
    # What only validates a configuration begins to ask too, and tells of its end.
    asked = balancer.exec(f"{lines} | grep -v 'validation complete' | tail -n 1").stdout
    return bool(asked) and json.loads(asked)["msg"] != "host is up"


def test_requests_are_spread_and_hosts_may_die(project: Project, balancer: Host) -> None:
    first, second = project.hosts
    front, everyone = seen_from(project, balancer), seen_from(project, *project.hosts, balancer)
    before_there_was_one(project, balancer)
    dry = shown(project.freehold("deploy", "--dry-run", "--skip-push", "--version", "v1"))
    assert "lb-1: v0 → v1" in dry and "reverse_proxy http://web-1:80 http://web-2:80" in dry
    said = squeezed(project.deploy("v1"))
    assert "nothing goes to" not in said, said
    assert answering(project, balancer) == {"web-1", "web-2"}
    assert behind(project) == {"web-1:80": "", "web-2:80": ""}
    assert "nothing: the hosts run what the configuration says" in shown(project.freehold("diff"))
    only_those_in_front_are_heard(project, balancer)

    project.image("v2")
    with front.traffic() as traffic:
        project.send("v2")
        traffic.seen(10)
    assert front.serving() == ("v2",)
    assert set(traffic.load.report().versions) == {"v1", "v2"}
    taken_away(project, balancer)

    # Another name comes with a version that does not come up: the one in front goes back too.
    before = everyone.state()
    project.config["proxy"] |= {"hosts": ["shop.test", "new.test"], "host": None}
    with project.impatient():
        project.image("v3", "ok", first)
        project.image("v3", "crash", second)
        said = squeezed(project.send("v3", expect=1))
    assert "web-2" in said and "no database: giving up" in said, said
    everyone.same_as(before)
    # The hosts have switched by the time the one in front cannot.
    project.image("v6")
    balancer.exec("chmod 555 /var/lib/freehold/proxy/routes")
    try:
        with front.traffic(websocket=False, reloads=6) as traffic:
            said = squeezed(project.send("v6", expect=1))
            traffic.seen(10)
    finally:
        balancer.exec("chmod 2775 /var/lib/freehold/proxy/routes")
    assert "lb-1: routes" in said and "Switching traffic to v6" in said, said
    everyone.same_as(before)

    a_version_is_tried(project, balancer)
    host_dies(project, balancer)

    project.deploy("v4")
    found = [project.ask(balancer, name=name).text.strip() for name in ("shop.test", "new.test")]
    assert found == ["v4", "v4"]
    project.rollback()
    assert front.serving() == ("v2",) and project.ask(balancer, name="new.test").status == 404
    assert behind(project) == {"web-1:80": "", "web-2:80": ""}
    assert "serves shop-web" in squeezed(project.freehold("proxy", "remove", "-y", "-h", "lb-1", expect=1))
    project.freehold("remove", "-y")
    for host in everyone.hosts:
        kept = " ".join(f"proxy/{name}" for name in ("sites", "routes", "current", "targets"))
        left = host.exec(f"cd /var/lib/freehold; find apps {kept} -type f -o -type l", check=False)
        assert left.stdout == "", left.stdout
    assert project.ask(balancer).status == 404


def before_there_was_one(project: Project, balancer: Host) -> None:
    """A balancer comes with a version, and goes with a rollback to the one before."""
    project.config["proxy"]["loadbalancer"] = []
    project.save()
    project.deploy("v0")
    project.config["proxy"]["loadbalancer"] = ["lb-1"]
    project.save()
    project.deploy("v1")
    assert [project.ask(host).status for host in (*project.hosts, balancer)] == [403, 403, 200]
    project.rollback()
    assert [project.ask(host).status for host in (*project.hosts, balancer)] == [200, 200, 404]


def only_those_in_front_are_heard(project: Project, balancer: Host) -> None:
    """The application sees the visitor as the balancer does; others do not get through, whatever they say."""
    visitor = str(project.rig.subnet[2])
    lies = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "bank.test"}
    told = project.ask(balancer, "/request", headers=lies).json()["headers"]
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == (visitor, "http")
    assert told["x-forwarded-host"] == "shop.test" and "freehold-balanced" not in told
    for host in (*project.hosts, balancer):
        assert project.ask(host, headers={"Freehold-Balanced": "request", **lies}).status == 403
    assert [project.ask(host).status for host in project.hosts] == [403, 403]

    lines = [json.loads(line) for host in project.hosts for line in host.read(LOG).splitlines()]
    # Without a visitor there are only those who came before, in other tests.
    entries = [entry for entry in lines if "visitor" in entry]
    mine = [entry for entry in entries if entry["request"]["uri"] == "/request"]
    assert [(entry["service"], entry["visitor"]) for entry in mine] == [("shop-web", visitor)]
    # What the balancer asks ever again is no request of anybody.
    assert "/up" not in {entry["request"]["uri"] for entry in entries}
    entries = [json.loads(line) for line in balancer.read(LOG).splitlines()]
    mine = [entry for entry in entries if entry.get("request", {}).get("uri") == "/request"]
    assert mine[0]["service"] == "shop-web" and mine[0]["target"] in ("web-1:80", "web-2:80")
    assert mine[0]["request"]["remote_ip"] == visitor


def taken_away(project: Project, balancer: Host) -> None:
    """Whoever closes it for a while closes it behind, and no host is taken out for that."""
    project.freehold("app", "maintenance", "--message", "Back at noon")
    answer = project.ask(balancer)
    assert answer.status == 503 and "Back at noon" in answer.text
    assert behind(project) == {"web-1:80": "", "web-2:80": ""}
    project.freehold("app", "live")
    project.freehold("app", "pause")
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(project.ask(balancer, timeout=60).status))
    waiting.start()
    project.freehold("app", "resume")
    waiting.join()
    assert answers == [200]


def a_version_is_tried(project: Project, balancer: Host) -> None:
    """The hosts behind draw the visitors' part, as ever; what they cannot see is refused."""
    project.image("v5")
    trial = ("--skip-push", "--version", "v5")
    refused = project.freehold("canary", "0%", "--allow", "address 203.0.113.9", *trial, expect=2)
    assert "hosts behind a load balancer see its address" in squeezed(refused)
    project.freehold("canary", "0%", "--allow", "header X-Beta=1", *trial)
    for _ in range(4):
        assert project.ask(balancer, headers={"X-Beta": "1"}).text.strip() == "v5"
        assert project.ask(balancer).text.strip() == "v2"
    project.freehold("canary", "abort")


def host_dies(project: Project, balancer: Host) -> None:
    """Under load, without a word; it comes back while no request fails. Then its container alone."""
    second = project.hosts[1]
    front = seen_from(project, balancer)
    rate: dict[str, Any] = {"rate": 15.0, "slow_every": 0, "websocket": False, "timeout": 5.0}
    load = Load(LoadPlan(targets=[Target("lb-1", balancer.address, 80, "shop.test")], **rate))
    project.rig.control_call(load.start)
    project.until(lambda: load.report().served > 10, "answers")
    second.cut()
    second.kill()
    project.until(lambda: out(balancer, "web-2"), "the balancer to notice")
    load.stop()
    report = load.report()
    # What was under way is lost with the host, and nothing besides.
    print(f"{report.served} answered, {report.failed} lost: {list(map(str, report.failures))}")
    assert answering(project, balancer) == {"web-1"}
    assert behind(project, down=True) == {"web-1:80": "", "web-2:80": "answers nothing"}
    with front.traffic(websocket=False) as traffic:
        traffic.seen(20)
        second.start()
        project.until(lambda: answering(project, balancer) == {"web-1", "web-2"}, "the host again")
        traffic.seen(10)

    second.exec("docker stop --time 1 shop-web-v2")
    project.until(lambda: out(balancer, "web-2"), "the balancer to notice")
    with front.traffic(websocket=False) as traffic:
        assert answering(project, balancer) == {"web-1"}
        second.exec("docker start shop-web-v2")
        project.until(lambda: answering(project, balancer) == {"web-1", "web-2"}, "the container again")
        traffic.seen(10)


@pytest.fixture
def authority(
    rig: Rig, project: Project, balancer: Host, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Authority]:
    """An authority that finds the balancer under the name, and that those in front find."""
    made = Authority(rig, tmp_path_factory.mktemp("authority"))
    with made.running("http-01"):
        pass
    with made.known({"shop.test": balancer, "www.shop.test": balancer}, balancer, project.hosts[0]):
        yield made


def test_https_ends_in_front(project: Project, balancer: Host, authority: Authority) -> None:
    """Two balancers, of which one runs the application too, get a certificate each; the rest need none."""
    first, second = project.hosts
    (project.directory / "config" / "ca.pem").write_text(authority.root.read_text())
    profile = project.directory / "config" / "host.yml"
    profile.write_text(f"proxy: {{acme_ca: '{DIRECTORY}', acme_root: config/ca.pem}}\n")
    project.config["proxy"] |= {"ssl": True, "loadbalancer": ["lb-1", "web-1"]}
    project.config["proxy"]["redirect_from"] = ["www.shop.test"]
    project.config["proxy"]["healthcheck"]["path"] = "/secure"
    project.save()
    project.freehold("proxy", "boot", "-h", "lb-1,web-1", timeout=300)
    try:
        with authority.running("http-01"):
            said = squeezed(project.deploy("v1"))
        assert "without a certificate" not in said and "nothing goes to" not in said, said
        for host in (balancer, first):
            assert secured(project, authority, "shop.test", host)[1] == "v1"
            assert answering_securely(project, authority, host) == {"web-1", "web-2"}
            for name in ("shop.test", "www.shop.test"):
                answer = project.ask(host, "/a?b", name=name)
                assert (answer.status, answer.headers["location"]) == (308, "https://shop.test/a?b")
        # A mark opens nothing: not where one asks by oneself what only balancers may.
        for host, status in ((balancer, 308), (first, 403), (second, 403)):
            assert project.ask(host, headers={"Freehold-Balanced": "request"}).status == status
        serials = {
            secured(project, authority, "shop.test", host)[0].serial_number for host in (balancer, first)
        }
        assert len(serials) == 2
        assert second.exec("ls /var/lib/freehold-proxy/certificates", check=False).stdout == ""
        assert project.ask(second).status == 403

        # The one in front that runs it too dies: the other goes on with the host that is left.
        first.cut()
        project.until(lambda: out(balancer, "web-1"), "the balancer to notice")
        assert answering_securely(project, authority, balancer) == {"web-2"}
        first.heal()
        project.until(
            lambda: answering_securely(project, authority, balancer) == {"web-1", "web-2"}, "the host again"
        )
        project.freehold("app", "remove", "-y")
        for host in (balancer, *project.hosts):
            assert project.ask(host).status == 404
    finally:
        first.heal()
        profile.unlink()
        project.config = basic()
        project.config["proxy"]["loadbalancer"] = "lb-1"
        project.save()
        project.freehold("proxy", "boot", timeout=300)


def answering_securely(project: Project, authority: Authority, host: Host) -> set[str]:
    """The hosts that answer behind one over HTTPS; each is told so, and by whom it is asked."""
    import ssl

    context = ssl.create_default_context(cafile=str(authority.root))
    found = set()
    for path in ["/environment"] * ASKED + ["/request"]:
        stream = project.rig.control_connect(host.address, 443)
        stream.settimeout(60)
        with context.wrap_socket(stream, server_hostname="shop.test") as wrapped:
            lie = "X-Forwarded-For: 203.0.113.9\r\n"
            wrapped.sendall(
                f"GET {path} HTTP/1.1\r\nHost: shop.test\r\n{lie}Connection: close\r\n\r\n".encode()
            )
            answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), answer
        told = json.loads(body)
        if path == "/request":
            seen = told["headers"]["x-forwarded-for"], told["headers"]["x-forwarded-proto"]
            assert seen == (str(project.rig.subnet[2]), "https")
        else:
            found.add(told["KAMAL_HOST"])
    return found
