"""Certificates, maintenance, pause, and the proxy as a service: what is refused, and what the scripts do."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloudinit.parts.caddyfile import caddyfile
from cloudinit.profile import HostProfile, parse_profile
from deployer.commands import app, certificates, facts, hostproxy, layout, phases, traffic
from deployer.commands.wishes import LogWishes
from deployer.config import DeployConfig
from deployer.config.supported import REFUSED
from deployer.hostprofile import running_as
from deployer.rehearsal import rehearsed
from deployer.report import step_error
from deployer.script import Script, ScriptResult, StepOutcome
from freehold.errors import ConfigError, UsageError
from tests.unit.deployer import samples
from tests.unit.deployer.standin import StandIn

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
PAIR = {"certificate_pem": "CERT", "private_key_pem": "KEY"}


def made(days: int = 30) -> tuple[str, str]:
    """A certificate that is valid for so many days from NOW on, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.test")])
    begin = NOW - datetime.timedelta(days=100)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signed.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def with_pair(directory: Path, certificate: str, key: str) -> DeployConfig:
    return samples.config(
        directory,
        secrets={"CERT": certificate, "KEY": key},
        proxy={"host": "shop.test", "ssl": PAIR, "app_port": 3000},
    )


def test_a_pair_is_examined_before_anything_runs(tmp_path: Path) -> None:
    certificate, key = made()
    config = with_pair(tmp_path, certificate, key)
    assert certificates.examine(config, config.roles, NOW) == []
    config = with_pair(tmp_path, *made(-1))
    assert certificates.examine(config, config.roles, NOW) == ["the certificate in CERT has expired"]
    for bad, said in (
        (("not PEM", key), "the secret CERT holds no certificate in PEM form"),
        ((certificate, "not PEM"), "the secret KEY holds no private key"),
        ((certificate, made()[1]), "the key in KEY does not belong to the certificate in CERT"),
    ):
        config = with_pair(tmp_path, *bad)
        with pytest.raises(ConfigError, match=said):
            certificates.examine(config, config.roles, NOW)


def test_the_key_travels_in_a_here_document_only(tmp_path: Path) -> None:
    certificate, key = made()
    config = with_pair(tmp_path, certificate, key)
    script = phases.prepare(config, "web-1", config.roles_on("web-1"), "v1", "own/shop:v1")
    lines = script.render().splitlines()
    body = key.splitlines()[1]
    (index,) = [number for number, line in enumerate(lines) if body in line]
    assert lines[index] == body
    assert ".key.new <<'FREEHOLD_END'" in lines[index - 2]


def run(text: str, directory: Path) -> str:
    """A fragment with the host's words, working below a directory."""
    library = layout.library().replace(f"PROXY={layout.PROXY}\n", f"PROXY={directory}\n")
    text = text.replace(layout.PROXY, str(directory)).replace(layout.STATE, str(directory))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{library}\n{text}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shells(script: Script) -> str:
    """The steps of a script but those that wait or write to the audit log."""
    return "\n".join(step.shell for step in script.steps if not step.name.startswith(("drain", "audit")))


def test_maintenance_and_pause_are_files(tmp_path: Path) -> None:
    config = samples.config(tmp_path)
    roles = config.roles_on("web-2")
    (tmp_path / "targets").mkdir()
    target, page = tmp_path / "targets" / "shop-web", tmp_path / "maintenance" / "shop-web.html"
    target.write_text("172.30.0.9:3000\n")
    run(shells(traffic.maintenance(config, roles, "it's <down>\n$x", 5, audit="me")), tmp_path)
    assert page.read_text() == "it's <down>\n$x\n"
    for _ in range(2):
        run(shells(traffic.pause(config, roles, 5, audit="me")), tmp_path)
        assert target.read_text() == "127.0.0.1:1\n"
    asked = run("for path in" + facts.state_step(config).shell.partition("for path in")[2], tmp_path)
    assert asked.splitlines()[-1] == "target\tshop-web\t172.30.0.9:3000"
    # A deploy meanwhile takes effect when the requests are let go.
    run("write_target shop-web 172.30.0.10:3000", tmp_path)
    assert target.read_text() == "127.0.0.1:1\n"
    for _ in range(2):
        run(shells(traffic.live(config, roles, audit="me")), tmp_path)
        assert target.read_text() == "172.30.0.10:3000\n"
        assert not page.exists()
    run("link_current shop-web /one\nlink_current shop-web /two", tmp_path)
    assert (tmp_path / "current" / "shop-web").readlink() == Path("/two")


@pytest.mark.parametrize("state", ["exited", "restarting", "paused", "created", "gone"])
@pytest.mark.parametrize("role", ["web", "jobs"])
def test_what_does_not_run_any_more_gets_no_traffic(tmp_path: Path, state: str, role: str) -> None:
    """A worker of the version neither: everything stays with the old one then."""
    config, host = samples.config(tmp_path), StandIn(tmp_path)
    host.target(address="172.30.0.9:3000")
    host.served("v1")
    for name in ("web", "jobs"):
        if name != role or state != "gone":
            host.container(f"shop-{name}-v2", "172.30.0.10", state if name == role else "running")
    script = phases.commit(config, config.roles_on("web-2"), "v2")
    error = step_error(script, host.run(script))
    assert ("ended" if state == "exited" else state) in error.message, error.message
    assert (host.target(), host.history) == ("172.30.0.9:3000", ["v1"])
    if role == "web":
        done = host.words("switch_to shop-web-v2 shop-web 3000")
        cause = {"exited": "ended with exit code", "gone": "is gone"}.get(state, f"is {state}, although")
        assert f"failed: the container {cause}" in done.stdout
        assert host.target() == "172.30.0.9:3000"


@pytest.mark.parametrize("kept", ["", "x", "\0\0", "-5", "99999999999999999999", "\n"])
def test_the_last_address_may_be_unreadable(tmp_path: Path, kept: str) -> None:
    """A power cut leaves files empty that were just written; the host can be deployed to all the same."""
    host = StandIn(tmp_path)
    host.container("other", "172.30.0.2")
    last = host.proxy / "last-address"
    last.write_text(kept)
    for address in ("172.30.0.3", "172.30.0.4"):
        done = host.words("free_address shop-web-v2; echo $address")
        assert (done.returncode, done.stdout.split()) == (0, [address]), done.stderr
    assert last.read_text() == "4\n"
    last.write_text("0258")
    assert host.words("free_address shop-web-v2; echo $address").stdout.split() == ["172.30.1.3"]


def test_a_role_without_requests_has_no_maintenance(tmp_path: Path) -> None:
    config = samples.config(tmp_path).select(roles=["jobs"])
    with pytest.raises(UsageError, match="no requests reach jobs"):
        traffic.maintenance(config, config.roles, "", 5, audit="me")


def test_pairs_that_nobody_names_are_removed(tmp_path: Path) -> None:
    for name in ("used", "kept", "left"):
        (tmp_path / "certs").mkdir(exist_ok=True)
        (tmp_path / "certs" / f"{name}.crt").touch()
        (tmp_path / "certs" / f"{name}.key").touch()
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "a.caddy").write_text("tls /certs/used.crt")
    version = tmp_path / "apps" / "shop" / "versions" / "v1" / "proxy" / "sites"
    version.mkdir(parents=True)
    (version / "a.caddy").write_text("tls /certs/kept.crt")
    run(certificates.prune_fragment(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "certs").iterdir()) == [
        "kept.crt",
        "kept.key",
        "used.crt",
        "used.key",
    ]


def test_nothing_of_an_application_is_left(tmp_path: Path) -> None:
    config = samples.config(tmp_path)
    text = app.remove(config, config.roles_on("web-1")).render()
    for path in (
        "targets/shop-web",
        "targets/.shop-web.paused",
        "current/shop-web",
        "maintenance/shop-web.html",
    ):
        assert f"{layout.PROXY}/{path}" in text


def test_a_port_of_run_that_another_service_of_the_host_has_is_refused(tmp_path: Path) -> None:
    run = {"http_port": 2222}
    config = samples.config(tmp_path, proxy={"host": "a.test", "run": run})
    running_as(HostProfile(), config, "web-1")
    with pytest.raises(ConfigError, match=r"ssh.port and proxy.http_port of web-1 are both 2222") as caught:
        running_as(parse_profile("ssh: {port: 2222}"), config, "web-1")
    assert str(caught.value.where) == "config/deploy.yml proxy.run"


def test_what_run_says_about_a_hosts_proxy(tmp_path: Path) -> None:
    run = {"http_port": 8080, "bind_ips": ["203.0.113.7"], "metrics_port": 9100}
    run |= {"log_max_size": "5m", "debug": True}
    config = samples.config(tmp_path, proxy={"host": "a.test", "run": run})
    profile = running_as(HostProfile(), config, "web-1")
    assert (profile.proxy.http_port, profile.proxy.https_port) == (8080, 443)
    assert profile.proxy.bind_ips == ("203.0.113.7",) and profile.proxy.log_max_size == "5m"
    assert running_as(HostProfile(), samples.config(tmp_path), "web-1") == HostProfile()
    found = hostproxy.run_of(config, "web-1")
    assert found is not None
    wanted = ["http=8080", "https=443", "bind=203.0.113.7", "metrics=9100", "debug", "log=5m"]
    assert hostproxy.words(found) == wanted
    assert "for word in " + " ".join(wanted) in facts.facts_script(config, "web-1").render()


@pytest.mark.parametrize("key", ["registry", "repository", "version", "options"])
def test_what_only_a_container_could_do_is_refused_by_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'proxy.run.{key}' has no meaning here") as caught:
        samples.config(tmp_path, proxy={"run": {key: {"memory": "1g"} if key == "options" else "v1"}})
    assert "take the key out; " in caught.value.hint
    assert f"accessories.*.proxy.run.{key}" in REFUSED and f"servers.*.proxy.run.{key}" in REFUSED


def test_the_log_is_read_with_its_filters(tmp_path: Path) -> None:
    log = [json.dumps({"ts": ts, "msg": f"m{ts}"}, separators=(",", ":")) for ts in (100.5, 4e9, 4.1e9)]
    (tmp_path / "proxy.log").write_text("\n".join(log) + "\n")

    def read(**how: object) -> list[str]:
        text = hostproxy.logs_command(LogWishes(**how))  # type: ignore[arg-type]
        text = text.replace("/var/log/freehold-proxy", str(tmp_path))
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["msg"] for line in done.stdout.splitlines()]

    assert read() == ["m100.5", "m4000000000.0", "m4100000000.0"]
    assert read(lines=1) == ["m4100000000.0"]
    assert read(since="10m") == read(since="2026-01-31T12:00:00Z") == ["m4000000000.0", "m4100000000.0"]
    assert read(grep="m100|m41", grep_options=("-E",)) == ["m100.5", "m4100000000.0"]
    assert read(grep="nothing") == []
    assert read(timestamps=False, lines=1) == ["m4100000000.0"]
    assert '"ts"' not in without_stamps(tmp_path)
    with pytest.raises(UsageError, match="is no time"):
        read(since="yesterday; rm -rf /")


def without_stamps(directory: Path) -> str:
    text = hostproxy.logs_command(LogWishes(timestamps=False))
    text = text.replace("/var/log/freehold-proxy", str(directory))
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True).stdout


def test_details_of_the_proxy() -> None:
    lines = (
        "state\tactive",
        "version\tv2.11.7",
        "since\tMon 2026-06-01 12:00:00 UTC",
        "listens\thttp=80 https=443 log=10m",
        "site\t_wildcard.shop.test",
        "target\tshop-web\t172.30.0.9:3000\tmaintenance",
    )
    result = ScriptResult("web-1", 0, (StepOutcome("details", "ok", 0.1, lines),))
    found = hostproxy.parse_details(result)
    assert found.sites == ("*.shop.test",)
    assert found.targets == (("shop-web", "172.30.0.9:3000", "maintenance"),)
    assert (found.state, found.version, found.listens) == ("active", "v2.11.7", "http=80 https=443 log=10m")
    assert found.refused == ""
    for said, why in (('{"level":"error","msg":"no \\"x\\" here"}', 'no "x" here'), ("unknown", "unknown")):
        result = ScriptResult("web-1", 0, (StepOutcome("details", "ok", 0.1, (f"refused\t{said}",)),))
        assert hostproxy.parse_details(result).refused == why


def test_a_lab_signs_for_itself_where_https_is_automatic(tmp_path: Path) -> None:
    plain = samples.config(tmp_path)
    assert rehearsed(HostProfile(), plain) == HostProfile()
    secure = samples.config(tmp_path, proxy={"host": "a.test", "ssl": True})
    profile = rehearsed(HostProfile(), secure)
    assert profile.proxy.acme_ca == "internal"
    assert "\n\tlocal_certs\n" in caddyfile(profile)


def test_a_deploy_looks_for_the_certificates_that_come_by_themselves(tmp_path: Path) -> None:
    names = {"hosts": ["shop.test", "www.shop.test"], "app_port": 3000}
    config = samples.config(tmp_path, proxy={**names, "ssl": True})
    step = certificates.await_step(config.roles)
    assert step is not None and step.shell == "await_certificates 30 shop.test www.shop.test"
    without = samples.config(tmp_path, proxy=names)
    assert certificates.await_step(without.roles) is None
    lines = ("no certificate: shop.test: connection refused", "anything")
    result = ScriptResult("web-1", 0, (StepOutcome("https", "ok", 0.1, lines),))
    assert certificates.missing(result) == ["shop.test: connection refused"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("# listens: http=80 https=443 log=10m", "127.0.0.1:443"),
        ("# listens: http=80 https=8443 bind=::1,192.0.2.7 log=10m", "[::1]:8443"),
        ("# listens: http=80 https=443 publish=no log=10m", "172.30.0.1:443"),
        ("something else", "127.0.0.1:443"),
    ],
)
def test_certificates_are_asked_for_where_the_proxy_listens(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "Caddyfile").write_text(f"{text}\n")
    shell = f"{layout.library()}\nCADDYFILE={tmp_path}/Caddyfile\nproxy_secure"
    assert subprocess.run(["bash", "-c", shell], capture_output=True, text=True).stdout == f"{where}\n"


def test_what_the_authority_said_is_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "proxy.log"
    errors = [
        {"level": "error", "ts": 1.5, "identifier": "shop.test", "error": "old"},
        {"level": "error", "ts": 2.5, "identifier": "shop.test", "error": 'dial "ca"\nrefused'},
        {"level": "info", "ts": 3.5, "identifier": "shop.test", "msg": "obtaining"},
    ]
    log.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in errors))
    ask = "last_refusal shop.test; refused_lately shop.test || echo long ago"
    shell = f"{layout.library()}\nPROXY_LOG={log}\n{ask}"
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True).stdout
    assert said == 'dial "ca" refused\nlong ago\n'


def test_another_process_takes_over() -> None:
    """By scripts that are bash, as is what they leave on the host; an upgrade leaves what is the same."""
    for script, only_other in (
        (hostproxy.announce(), "1"),
        (hostproxy.take_over(), ""),
        (hostproxy.take_over(only_other=True), "1"),
    ):
        (step,) = script.steps
        samples.is_bash(script.render())
        written = re.search(r"<<'(FREEHOLD_END)'\n(.*?\n)\1\n", step.shell, re.DOTALL)
        assert written is not None and written[2].startswith(f"ONLY_OTHER={only_other} ")
        samples.is_bash(written[2])
    # The recipe of an earlier release has restarted it.
    assert (
        "systemctl restart" not in hostproxy.take_over(only_other=True).steps[0].shell.partition("exit\n")[0]
    )
    assert "systemctl restart" in hostproxy.take_over().steps[0].shell.partition("exit\n")[0]
