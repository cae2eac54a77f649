"""Automatic HTTPS with a real ACME authority: both challenges, renewal, an authority that does not answer."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography import x509

from tests.conftest import Control
from tests.integration.app.authority import DIRECTORY, Authority
from tests.integration.app.project import Project, basic, squeezed
from tests.integration.test_deploy_interrupted import held, release
from tests.rig import Host, Rig

NAMES = tuple(f"{part}shop.test" for part in ("", "www.", "far.", "bound.", "both."))
CUSTOMERS = tuple(f"{part}.customer.test" for part in ("one", "two", "stranger"))


@pytest.fixture
def authority(
    rig: Rig, hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Authority]:
    """An authority that finds the first host under all names, and that hosts find; it does not run yet."""
    made = Authority(rig, tmp_path_factory.mktemp("authority"))
    with made.running("http-01"):
        pass
    with made.known(dict.fromkeys((*NAMES, *CUSTOMERS), hosts[0]), *hosts):
        yield made


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control, authority: Authority) -> Iterator[Project]:
    """A project on one host, whose proxy asks that authority."""
    made = Project(rig, hosts[:1], control.directory)
    made.config["servers"]["web"]["hosts"] = [hosts[0].name]
    made.config["proxy"]["ssl"] = True
    made.save()
    (made.directory / "config" / "ca.pem").write_text(authority.root.read_text())
    profile = made.directory / "config" / "host.yml"
    profile.write_text(f"proxy: {{acme_ca: '{DIRECTORY}', acme_root: config/ca.pem}}\n")
    made.freehold("proxy", "boot", timeout=300)
    yield made
    profile.unlink()
    made.config = basic()
    made.save()
    made.freehold("proxy", "boot", timeout=300)


def shown(
    project: Project, authority: Authority, name: str, host: Host | None = None
) -> tuple[x509.Certificate, str]:
    """The certificate for a name and the version behind it, as seen by who trusts this authority only."""
    context = ssl.create_default_context(cafile=str(authority.root))
    stream = project.rig.control_connect((host or project.hosts[0]).address, 443)
    # A name's first visit waits for its certificate.
    stream.settimeout(60)
    with context.wrap_socket(stream, server_hostname=name) as wrapped:
        found = wrapped.getpeercert(binary_form=True)
        wrapped.sendall(f"GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
    assert found is not None
    return x509.load_der_x509_certificate(found), answer.partition(b"\r\n\r\n")[2].decode().strip()


def serial(project: Project, authority: Authority, name: str) -> int:
    try:
        return shown(project, authority, name)[0].serial_number
    except OSError:
        return 0


def refused(project: Project, authority: Authority) -> None:
    """A name that the application does not know gets no certificate, and no authority hears of it."""
    with pytest.raises(OSError):
        shown(project, authority, "stranger.customer.test")
    host = project.hosts[0]
    kept = host.exec("ls /var/lib/freehold-proxy/certificates/*").stdout.split()
    begun = host.journal("--unit=freehold-proxy", "--output=cat", "--grep=obtaining certificate")
    assert "one.customer.test" in kept and "one.customer.test" in begun
    assert "stranger" not in " ".join(kept) and "stranger" not in begun


def unanswered(project: Project, authority: Authority) -> None:
    """While the application is down, names that it once allowed keep HTTPS over a restart, and they alone."""
    host = project.hosts[0]
    host.exec("docker stop --time 1 shop-web-v1")
    project.freehold("proxy", "restart")

    def handshake(name: str) -> bool:
        context = ssl.create_default_context(cafile=str(authority.root))
        stream = project.rig.control_connect(host.address, 443)
        stream.settimeout(60)
        try:
            with context.wrap_socket(stream, server_hostname=name) as wrapped:
                return wrapped.getpeercert() is not None
        except ssl.SSLError:
            return False

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(handshake, CUSTOMERS[:3])) == [True, False, False]
    host.exec("docker start shop-web-v1")


def certificates(project: Project) -> dict[str, dict[str, Any]]:
    """What `proxy details` says of certificates, by name."""
    (found,) = json.loads(project.freehold("proxy", "details", "--json").stdout)
    return {one["name"]: one for one in found["certificates"]}


def test_certificates_of_an_authority(project: Project, authority: Authority) -> None:
    first = project.hosts[0]
    # The authority does not answer: the deploy stands, and says what is missing.
    said = squeezed(project.deploy("v1"))
    assert "v1 is live, but without a certificate for shop.test" in said and "connection refused" in said, (
        said
    )
    assert project.ask(first).status == 308
    missing = certificates(project)["shop.test"]
    assert missing["until"] == "" and "connection refused" in missing["by"]

    with authority.running("http-01"):
        # A restart asks again at once; by itself it would within a minute.
        project.freehold("proxy", "restart")
        project.until(lambda: serial(project, authority, "shop.test") != 0, "the first certificate")
        old, version = shown(project, authority, "shop.test")
        assert version == "v1"
        assert certificates(project)["shop.test"]["by"].startswith("Authority of the rig")
        # Any name may come, and gets a certificate at its first visit where the application knows it.
        del project.config["proxy"]["host"]
        project.config["proxy"]["ssl_on_demand"] = "/allowed"
        project.config["env"]["clear"]["TENANTS"] = "shop.test,one.customer.test,two.customer.test"
        project.save()
        project.send("v1")
        assert shown(project, authority, "one.customer.test")[1] == "v1"
        refused(project, authority)
        unanswered(project, authority)
        del project.config["proxy"]["ssl_on_demand"]
        project.config["proxy"]["host"] = "shop.test"
        project.save()
    # Kept over deploys and restarts, with nobody to ask.
    said = squeezed(project.deploy("v2"))
    assert "without a certificate" not in said
    first.restart_service("freehold-proxy")
    assert shown(project, authority, "shop.test") == (old, "v2")

    # A name comes along while another authority of the same root asks for the other challenge.
    project.config["proxy"]["hosts"] = ["shop.test", "*.customer.test"]
    project.config["proxy"]["redirect_from"] = ["www.shop.test"]
    project.config["proxy"]["ssl_on_demand"] = "/allowed"
    del project.config["proxy"]["host"]
    project.save()
    with authority.running("tls-alpn-01"):
        said = squeezed(project.deploy("v3"))
        assert "without a certificate" not in said, said
        # One that leads elsewhere has a certificate to say so, and by HTTP leads there at once.
        assert shown(project, authority, "www.shop.test")[1] == ""
        answer = project.ask(first, "/a%20b?c=d&e", "www.shop.test")
        assert (answer.status, answer.headers["location"]) == (308, "https://shop.test/a%20b?c=d&e")
        assert shown(project, authority, "two.customer.test")[1] == "v3"
        refused(project, authority)
        del project.config["proxy"]["ssl_on_demand"]
        # Months pass: one that ends in five days is renewed, and serves until it has been.
        aged, key = authority.aged("www.shop.test")
        store = first.exec(
            "dirname /var/lib/freehold-proxy/certificates/*/www.shop.test/*.crt"
        ).stdout.strip()
        for suffix, text in (("crt", aged), ("key", key)):
            first.write(f"{store}/www.shop.test.{suffix}", text, 0o600, "freehold-proxy:freehold")
        project.freehold("proxy", "restart")
        before = x509.load_pem_x509_certificate(aged.encode()).serial_number
        project.until(lambda: serial(project, authority, "www.shop.test") not in (0, before), "the renewal")
        assert shown(project, authority, "shop.test") == (old, "v3")

    # Ports that a router forwards, and a proxy that listens on one address only.
    for run, challenge, name in (
        ({"http_port": 8081, "https_port": 8443}, "http-01", "far.shop.test"),
        ({"bind_ips": [first.address]}, "tls-alpn-01", "bound.shop.test"),
    ):
        project.config["proxy"] |= {"hosts": [name], "run": run}
        project.save()
        project.freehold("proxy", "boot", timeout=300)
        with forwarded(first, run), authority.running(challenge):
            said = squeezed(project.send("v3"))
            assert shown(project, authority, name)[1] == "v3", said

    share_a_name(project, authority)


def share_a_name(project: Project, authority: Authority) -> None:
    """Two hosts under one name, of which the authority sees but the first: both get a certificate."""
    both = (project.hosts[0], project.rig["web-2"])
    name, path = "both.shop.test", "/.well-known/acme-challenge/none"
    project.config = basic()
    project.config["proxy"] |= {"host": name, "ssl": True}
    project.save()
    project.freehold("proxy", "boot", timeout=300)
    project.hosts = both
    project.image("v4")
    log = "/var/log/freehold-proxy/proxy.log"
    with authority.running("http-01"):
        # The second begins while the first, whom the authority asks, does not know the name yet.
        with (
            held(both[0], "proxy.lock"),
            project.start("deploy", "--skip-push", "--version", "v4") as deploy,
        ):
            asked = f"grep -c 'both.shop.test.*acme-challenge.*\"status\":404' {log}"
            project.until(lambda: int(both[0].exec(asked, check=False).stdout) > 0, "a lost attempt")
            release(both[0], "proxy.lock")
            assert deploy.wait(180) == 0, project.printed
        assert "without a certificate" not in project.printed, project.printed
        found = [shown(project, authority, name, host) for host in both]
    assert [version for _, version in found] == ["v4", "v4"]
    assert found[0][0].serial_number != found[1][0].serial_number

    # A question that nobody can answer comes back as it would from one host; so does what is no question.
    for asked in (path, "/.well-known/acme-challenge/../version", "/version"):
        answer = project.ask(both[1], asked, name=name)
        assert (answer.status, answer.headers["location"]) == (308, f"https://{name}{asked}")
    # It has been passed on, and only once.
    heard = [host.exec(f"grep -c '{path}' {log}") for host in both]
    assert [int(one.stdout) for one in heard] == [1, 1]

    # The same again is no news to any proxy; that a host is gone is one to the other.
    before = [loads(host) for host in both]
    project.send("v4")
    assert [loads(host) for host in both] == before
    project.config["servers"]["web"]["hosts"] = [both[1].name]
    project.save()
    project.send("v4")
    assert [loads(host) for host in both] == [before[0], before[1] + 1]
    assert project.ask(both[1], path, name=name).status == 308
    assert int(both[0].exec(f"grep -c '{path}' {log}").stdout) == 1


def loads(host: Host) -> int:
    """How often the proxy has been given other routes."""
    return len(host.journal("--unit=freehold-proxy", "--output=cat", '--grep="/load"').splitlines())


@contextmanager
def forwarded(host: Host, run: Mapping[str, Any]) -> Iterator[None]:
    """What arrives on the usual ports goes to those of `run`, as a router in front would have it."""
    own = {80: run.get("http_port", 80), 443: run.get("https_port", 443)}
    rules = "; ".join(f"tcp dport {one} redirect to :{other}" for one, other in own.items())
    chain = f"chain prerouting {{ type nat hook prerouting priority dstnat; {rules}; }}"
    host.exec("nft -f -", stdin=f"table ip router {{\n{chain}\n}}\n")
    try:
        yield
    finally:
        host.exec("nft delete table ip router")
