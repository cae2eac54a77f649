"""The proxy as a service of its host: started, stopped, moved to other ports, looked at, updated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Control
from tests.integration.app import proxylog
from tests.integration.app.http3 import Visitor
from tests.integration.app.project import Project, basic, squeezed
from tests.integration.app.tls import secure
from tests.rig import Host, Rig


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    return Project(rig, hosts, control.directory)


def shakes_hands(rig: Rig, host: Host, port: int) -> bool:
    try:
        return bool(secure(rig, host, "shop.test", port=port)[0])
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


def test_the_proxy_as_a_service_of_the_host(stock: Project, rig: Rig, trixie: Host) -> None:
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
    words = ("--grep", "MARK=here", "-o", "-i", "-T", "-h", "web-1")
    entries = [json.loads(line) for line in project.freehold("proxy", "logs", *words).stdout.splitlines()]
    assert [(one["request"]["uri"], "ts" in one) for one in entries] == [("/version?mark=here", False)]
    assert "mark=here" in project.freehold("proxy", "logs", "--since", "10m", "-n", "500").stdout
    assert "mark=here" not in project.freehold("proxy", "logs", "--since", "2099-01-01").stdout
    assert "is no time" in squeezed(project.freehold("proxy", "logs", "--since", "soon", expect=2))
    with project.start("proxy", "logs", "-f", "-n", "0", "-g", "mark=", "-h", "web-1") as following:

        def told() -> bool:
            project.ask(first, "/version?mark=there")
            return "mark=there" in project.printed

        project.until(told, "a line of the log that was written since")
        assert following.poll() is None, project.printed

    project.freehold("proxy", "stop")
    with pytest.raises(OSError):
        project.ask(first)
    assert [(one["state"], one["failing"]) for one in details()] == [("inactive", "")]
    project.freehold("proxy", "start")
    project.until(lambda: project.answers(first), "the proxy after its start")

    # A valid file that cannot be: said by those who look, and no more than three times in a row tried.
    site = "/var/lib/freehold/proxy/sites/taken.caddy"
    first.exec("systemd-run --quiet --unit=taken python3 -m http.server 8099")
    first.exec("until curl -s -o /dev/null http://127.0.0.1:8099/; do sleep 0.1; done")
    first.write(site, 'http://:8099 {\n\trespond "mine"\n}\n')
    good = "/var/lib/freehold-proxy/good"
    first.exec(f"mv {good} {good}-away; systemctl restart freehold-proxy", check=False)
    project.until(lambda: "address already in use" in details()[0]["failing"], "the reason")
    assert "web-1: the proxy does not start: loading initial config" in squeezed(
        project.freehold("proxy", "details")
    )
    first.exec(f"mv {good}-away {good}")
    project.until(lambda: project.answers(first), "the proxy as it was")
    # Caddy answers visitors a moment before it can say what it runs with.
    project.until(lambda: "it does not start" in details()[0]["refused"], "what is wrong with the file")
    first.exec(f"systemctl stop taken; rm {site}; systemctl reload freehold-proxy")

    # Another program under load: nobody is refused, and the sockets are the same.
    program = "/usr/local/bin/caddy"
    first.exec(f"mv {program} {program}.real")
    wrapper = f'#!/bin/sh\n[ "$1" != version ] || exec echo v2.11.0 h1:old\nexec {program}.real "$@"\n'
    first.write(program, wrapper, 0o755)
    first.restart_service("freehold-proxy")
    assert details()[0]["version"] == "v2.11.0"
    # The old one may close unread what it accepts in the instant of its end: from the load, and a stream.
    with project.traffic(reloads=2, websocket=False, slow_every=0, fresh_every=1) as traffic:
        project.freehold("proxy", "upgrade", "-y", "--rolling", timeout=300)
        traffic.seen(10)
    assert details()[0]["version"] == before[0]["version"]
    assert first.exec(f"cmp {program} {program}.real").stdout == ""

    # Other ports: the deploy says what is wrong, `proxy reboot` puts it right.
    project.config["proxy"]["run"] = {"http_port": 8081, "https_port": 8443, "metrics_port": 9101}
    project.config["proxy"]["run"] |= {"debug": True, "log_max_size": "1m"}
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
    listens = "http=8081 https=8443 metrics=9101 debug log=1m"
    assert [one["listens"] for one in details()] == [listens]
    kept = json.loads(project.freehold("proxy", "boot_config", "get", "--json").stdout)
    assert kept == {"web-1": listens}
    kamals = (
        "boot_config set --http-port 8081",
        "remove_container",
        "remove_image",
        "remove_proxy_directory",
    )
    for line in kamals:
        assert "freehold proxy" in squeezed(project.freehold("proxy", *line.split(), expect=2))
    with pytest.raises(OSError):
        project.ask(first)
    assert rig.http(first, "/version", port=8081, host="shop.test").text.strip() == "v1"
    assert "caddy_http_requests_total" in first.exec("curl -s http://127.0.0.1:9101/metrics").stdout
    says_more_and_turns_its_log(first)
    del project.config["proxy"]["run"]["debug"]
    project.save()
    assert "proxy.run says: that has no debug" in squeezed(project.send("v1", expect=1))
    project.config["proxy"]["run"]["debug"] = True
    project.save()
    project.deploy("v2")
    assert rig.http(first, "/version", port=8081, host="shop.test").text.strip() == "v2"
    # The certificate is made when it is first asked for; here the host signs it itself.
    project.until(lambda: shakes_hands(rig, first, 8443), "a certificate of the host's own")
    assert secure(rig, first, "shop.test", port=8443)[1].strip() == "v2"
    visitor = Visitor(trixie, first, "shop.test", port=8443)
    assert 'alt-svc: h3=":8443"' in visitor.get("/version", "--http2", "--head", only=False)
    assert visitor.get("/version", "-w", "%{http_version}") == "v2\n3"
    project.config["proxy"]["run"] = {"publish": False}
    project.save()
    project.freehold("proxy", "reboot", "-y", timeout=300)
    with pytest.raises(OSError):
        rig.http(first, "/version", port=8081, host="shop.test")
    request = "Request('http://172.30.0.1/version', headers={'Host': 'shop.test'})"
    inside = f"from urllib.request import *; print(urlopen({request}, timeout=10).read().decode())"
    asked = first.exec(("docker", "exec", "shop-web-v2", "python3", "-c", inside)).stdout
    assert asked.strip() == "v2"
    # The recipe has had another Caddy look at the new configuration twice, while this one had turned its log.
    assert proxylog.entries(first)
    del project.config["proxy"]["run"]
    project.save()
    kept = squeezed(project.freehold("proxy", "remove", "-y", expect=1))
    assert "the proxy still serves shop-web" in kept
    assert "proxy.run" not in kept
    profile.unlink()
    project.freehold("proxy", "remove", "-y", "--force", timeout=300)
    assert first.exec("systemctl is-active freehold-proxy", check=False).stdout == "inactive\n"
    project.freehold("proxy", "boot", timeout=300)
    assert [one["listens"] for one in details()] == ["http=80 https=443 log=10m"]
    # Its routes have outlived it.
    project.until(lambda: project.ask(first).text.strip() == "v2", "the proxy after its return")
    project.freehold("app", "remove", "-y")
    project.freehold("proxy", "remove", "-y", timeout=300)
    assert first.exec("systemctl is-active freehold-proxy", check=False).stdout == "inactive\n"

    # Two hosts, one after the other: the second hears nothing before the first is done.
    project.config["servers"]["web"]["hosts"] = ["web-1", "web-2"]
    project.save()
    (project.directory / "hooked").unlink()
    project.freehold("proxy", "reboot", "-y", "--rolling", timeout=300)
    hooked = (project.directory / "hooked").read_text()
    assert hooked == "".join(f"{when}-proxy-reboot web-{n}\n" for n in (1, 2) for when in ("pre", "post"))
    assert [one["listens"] for one in details()] == ["http=80 https=443 log=10m"] * 2


def says_more_and_turns_its_log(host: Host) -> None:
    """`proxy.run.debug` and `log_max_size`: what only a talkative one says is in the journal."""
    talk = ("--unit=freehold-proxy", "--grep", '"level":"debug"', "--lines=1", "--output=cat")
    assert '"level":"debug"' in host.journal(*talk)
    proxylog.turn(host, 1, port=8081)
    # What another process appends, this one writes over from here on: who only looks at a configuration has
    # a log of their own.
    kept = "/var/lib/freehold-proxy/good/saved.json"
    log = f"{proxylog.FOLDER}/proxy.log"
    host.exec(f"rm {kept}; cp {log} /root/before")
    host.exec(f"systemctl start freehold-proxy-keep; test -s {kept} && cmp /root/before {log}")
