"""Hosts in front of others: what the real Caddy understands, whom the others hear, what hosts are told."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import balance, front, layout, phases, proxy, wayback
from deployer.commands.facts import facts_script, parse_facts
from deployer.config import DeployConfig
from deployer.report import text_error
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import ConfigError, UsageError
from tests.unit.deployer import samples
from tests.unit.deployer.adapted import adapted, found, hosts

FRONT = {"host": "shop.test", "app_port": 3000, "ssl": True, "loadbalancer": "lb-1"}
BEHIND = {"servers": {"web": ["web-1", "10.0.0.2", "fd00::3"]}}


def config(directory: Path, *, servers: Any = None, **settings: Any) -> DeployConfig:
    secrets = {"CERT": "a certificate", "KEY": "its key"}
    return samples.config(
        directory, secrets, servers=servers or {"web": ["web-1", "web-2"]}, proxy={**FRONT, **settings}
    )


def named(made: dict[str, Any]) -> list[dict[str, Any]]:
    """What spreads requests, once for each server that has it."""
    return [
        one for routes in found(made, "named_routes") for handle in found(routes, "handle") for one in handle
    ]


def test_a_host_in_front_knows_those_behind_it(tmp_path: Path) -> None:
    check = {"path": "/up?deep=1", "interval": 2, "timeout": 1}
    settings = {**FRONT, "redirect_from": ["www.shop.test"], "healthcheck": check, "response_timeout": 20}
    made = adapted(tmp_path, host="lb-1", more=BEHIND, shop=settings)
    assert sorted(hosts(made)) == ["shop.test", "shop.test", "www.shop.test", "www.shop.test"]
    (spread,) = named(made)
    assert [one["dial"] for one in spread["upstreams"]] == ["web-1:80", "10.0.0.2:80", "[fd00::3]:80"]
    active = spread["health_checks"]["active"]
    assert (active["uri"], active["interval"], active["timeout"]) == ("/up?deep=1", 2 * 10**9, 10**9)
    assert active["headers"]["Host"] == ["shop.test"] and active["headers"]["X-Forwarded-Proto"] == ["https"]
    assert spread["health_checks"]["passive"]["fail_duration"] == 3 * 10**9
    # Only what could not be sent is tried again, and no visitor is believed.
    assert spread["load_balancing"]["retry_match"] == [{"method": ["NEVER"]}]
    assert "trusted_proxies" not in spread
    assert spread["transport"]["response_header_timeout"] == 60 * 10**9
    assert "targets/shop-web" not in json.dumps(made)
    assert adapted(tmp_path, host="lb-1", more=BEHIND, shop={**settings, "forward_headers": True})
    assert (
        "trusted_proxies"
        in named(adapted(tmp_path, host="lb-1", more=BEHIND, shop={**settings, "forward_headers": True}))[0]
    )


def test_hosts_are_asked_once_whatever_is_served(tmp_path: Path) -> None:
    names = {"host": None, "hosts": [f"{name}.test" for name in "abcdef"], "path_prefixes": ["/api", "/v2"]}
    made = adapted(tmp_path, host="lb-1", more=BEHIND, shop={**FRONT, **names, "ssl_redirect": False})
    # One for HTTP and one for HTTPS.
    assert [one["health_checks"]["active"]["uri"] for one in named(made)] == ["/api/up", "/api/up"]
    kept = {**names, "strip_path_prefix": False, "healthcheck": {"path": "/v2/up"}}
    made = adapted(tmp_path, host="lb-1", more=BEHIND, shop={**FRONT, **kept, "ssl": False})
    assert [one["health_checks"]["active"]["uri"] for one in named(made)] == ["/v2/up"]
    wild = adapted(tmp_path, host="lb-1", more=BEHIND, shop={**FRONT, "host": "*.shop.test", "ssl": False})
    assert [one["health_checks"]["active"]["headers"]["Host"] for one in named(wild)] == [
        ["health.shop.test"]
    ]


def test_hosts_behind_hear_only_those_in_front(tmp_path: Path) -> None:
    settings = {**FRONT, "redirect_from": ["www.shop.test"]}
    made = adapted(tmp_path, more=BEHIND, shop=settings)
    assert hosts(made) == ["shop.test"] and not named(made)
    text = json.dumps(made["apps"]["http"])
    assert '"fd/3"' in text and '"fd/4"' not in text
    # By an address that is a file, and with the mark; everybody else is refused.
    place = f"{tmp_path}/proxy/current/shop-web/balancers-web"
    ((matched,),) = [one for one in found(made, "match") if place in json.dumps(one)]
    assert matched["header"] == {"Freehold-Balanced": ["*"]}
    assert matched["file"]["try_files"] == ["{http.request.remote.host}"]
    assert text.count('"status_code": 403') == 1
    inner = [one for handle in found(made, "handle") for one in handle if one["handler"] == "reverse_proxy"]
    for one in inner:
        assert one["trusted_proxies"] == ["0.0.0.0/0", "::/0"]
        assert one["headers"]["request"] == {
            "set": {"X-Forwarded-For": ["{http.request.header.X-Forwarded-For}"]},
            "delete": ["Freehold-Balanced"],
        }


def test_a_host_may_be_in_front_of_itself(tmp_path: Path) -> None:
    made = adapted(tmp_path, more=BEHIND, shop={**FRONT, "loadbalancer": ["lb-1", "web-1"]})
    assert [one["dial"] for one in named(made)[0]["upstreams"]] == ["web-1:80", "10.0.0.2:80", "[fd00::3]:80"]
    plain = next(one for one in made["apps"]["http"]["servers"].values() if one["listen"] == ["fd/3"])
    text = json.dumps(plain)
    # What comes by way of one in front passes before the redirect; challenges go to the others in front.
    assert text.index("targets/shop-web") < text.index("https://{http.request.host}{http.request.uri}")
    assert '"dial": "lb-1:80"' in text and text.index("acme-challenge") < text.index("targets/shop-web")


def test_files_are_each_hosts_own(tmp_path: Path) -> None:
    pair = {"certificate_pem": "CERT", "private_key_pem": "KEY"}
    made = config(
        tmp_path, ssl=pair, servers={"web": ["web-1", "web-2"], "jobs": {"hosts": ["lb-1"], "cmd": "x"}}
    )
    assert (made.hosts, made.balancers) == (("web-1", "web-2", "lb-1"), ("lb-1",))
    assert made.all_hosts == made.routed_hosts == ("web-1", "web-2", "lb-1")
    files = {host: proxy.files(made, made.routed_on(host), host) for host in made.routed_hosts}
    assert files["web-1"] == files["web-2"]
    assert not [path for path in files["web-1"] if "_balance" in path]
    assert "tls " in files["lb-1"]["sites/shop.test.caddy"]
    # The certificate is nowhere but in front.
    for host in files:
        steps = phases.prepare(made, host, made.roles_on(host), "v1", "own/shop:v1").steps
        assert ("certificates" in [step.name for step in steps]) is (host == "lb-1")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"healthcheck": {"port": 9000}}, "'healthcheck.port' cannot stand beside 'loadbalancer'"),
        ({"healthcheck": {"path": "/a b"}}, "'healthcheck.path' cannot stand beside"),
        ({"path_prefix": "/api", "strip_path_prefix": False}, "strip_path_prefix: false leaves no such path"),
        ({"host": None, "ssl_on_demand": "/ask"}, "'ssl_on_demand' cannot stand beside 'loadbalancer'"),
        ({"run": {"publish": False}}, "'run.publish: false' cannot stand beside 'loadbalancer'"),
        ({"loadbalancer": "http://lb-1"}, "'http://lb-1' is no host name or address"),
        ({"loadbalancer": "lb-1:8080"}, "'lb-1:8080' is no host name or address"),
        ({"loadbalancer": ["lb-1", "lb-1"]}, "lb-1 is named twice"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match="proxy") as caught:
        config(tmp_path, **settings)
    assert said in str(caught.value), caught.value


def test_roles_of_one_name_have_the_same_in_front(tmp_path: Path) -> None:
    api = {"hosts": ["web-3"], "proxy": {"path_prefix": "/api", "loadbalancer": ["lb-2"]}}
    with pytest.raises(ConfigError, match=r"have different load balancers for shop\.test"):
        config(tmp_path, servers={"web": ["web-1"], "api": api})
    api["proxy"] = {"path_prefix": "/"}
    # Each path once, over all that one host has in front of it.
    with pytest.raises(ConfigError, match=r"would both serve shop\.test on lb-1"):
        config(tmp_path, servers={"web": ["web-1"], "api": api})
    with pytest.raises(ConfigError, match="hosts of an accessory have data of their own"):
        own = {"image": "own/db", "host": "db-1", "proxy": {"host": "db.test", "loadbalancer": "lb-1"}}
        samples.config(tmp_path, accessories={"db": own})


def test_hosts_that_are_asked_for(tmp_path: Path) -> None:
    made = config(tmp_path, loadbalancer=["lb-1", "lb-2"])
    assert made.sharing == {"shop.test": ("lb-1", "lb-2")}
    one = made.select(hosts=["web-1"])
    assert (one.routed_hosts, one.roles[0].balanced) == (("web-1",), ("web-1", "web-2"))
    both = made.select(hosts=["web-2", "lb-2"])
    assert both.routed_hosts == ("web-2", "lb-2")
    # The one in front goes on to know all.
    assert "http://web-1:80 http://web-2:80" in str(proxy.files(both, both.routed_on("lb-2"), "lb-2"))
    alone = made.select(hosts=["lb-1"])
    assert alone.all_hosts == ("lb-1",)
    with pytest.raises(UsageError, match="no host is left to work on"):
        _ = alone.hosts
    assert made.select(roles=["web"]).balancers == ("lb-1", "lb-2")


def answer(made: DeployConfig, host: str, **lines: str) -> ScriptResult:
    steps = tuple(StepOutcome(name, "ok", 0.0, tuple(text.splitlines())) for name, text in lines.items())
    return ScriptResult(host, 0, steps)


def test_where_those_in_front_come_from(tmp_path: Path) -> None:
    """Each says by which of its addresses it reaches whom; they are files in the version's directory."""
    made = config(tmp_path, loadbalancer=["lb-1", "web-1"])
    asked = {host: facts_script(made, host) for host in made.routed_hosts}
    assert ["ways" in [step.name for step in asked[host].steps] for host in asked] == [True, False, True]
    ways = next(step for step in asked["lb-1"].steps if step.name == "ways").shell
    local = samples.run(ways.replace("web-1 web-2", "127.0.0.1 localhost"))
    assert "way\t127.0.0.1\t127.0.0.1" in local and "way\tlocalhost\t127.0.0.1" in local
    with pytest.raises(subprocess.CalledProcessError) as caught:
        samples.run(ways.replace("web-1 web-2", "127.0.0.1 no.such.name.invalid"))
    step = StepOutcome("ways", "failed", 0.0, tuple(caught.value.stdout.splitlines()))
    error = text_error(ScriptResult("lb-1", 1, (step,)))
    assert "no.such.name.invalid is not known here" in error.message and "addresses" in error.hint

    told = answer(made, "lb-1", state="", ways="way\tweb-1\t10.0.0.9\nway\tweb-2\tfd00::9")
    facts = parse_facts(made, told)
    assert facts.ways == (("web-1", "10.0.0.9"), ("web-2", "fd00::9"))
    found = {"lb-1": facts.ways, "web-1": (("web-1", "10.0.0.1"), ("web-2", "10.0.0.1"))}
    assert balance.admissible(found, "web-2") == ("fd00::9", "10.0.0.1")

    version, now = tmp_path / "v2", tmp_path / "v1" / "balancers-web"
    now.mkdir(parents=True)
    (now / "10.0.0.7").touch()
    library = layout.library()

    def admitted(*addresses: str, kept: bool = False) -> list[str]:
        text = balance.admit_fragment(made, made.roles[0], "v2", addresses, kept=kept)
        text = text.replace(layout.version(made.name, "v2"), str(version))
        samples.run(
            f"set -e\n{library}\n" + text.replace(f"{layout.current('shop-web')}/balancers-web", str(now))
        )
        place = version / "balancers-web"
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    assert admitted("10.0.0.9", kept=True) == []
    assert admitted() == ["10.0.0.7"]
    assert admitted("10.0.0.9", "fd00::9") == ["10.0.0.9", "fd00::9"]
    assert admitted("10.0.0.1", kept=True) == ["10.0.0.1", "10.0.0.9", "fd00::9"]


def test_how_those_behind_are() -> None:
    samples.is_bash(balance.LOOK)
    lines = [
        "behind\tshop-web\tweb-1:80\t",
        "behind\tshop-web\tweb-2:80\tanswers 502",
        "behind\tblog-web\tx:80\t",
    ]
    assert [one.state for one in balance.parse_look(lines)] == ["", "answers 502", ""]
    assert [one.address for one in balance.parse_look(lines, ["blog-web"])] == ["x:80"]


def test_a_host_that_only_balances(tmp_path: Path) -> None:
    """It keeps what it needs for a rollback, goes back to it, and has no image."""
    made = config(tmp_path)
    (role,) = made.roles
    commit = phases.commit(made, (), "v2", [role])
    assert [step.name for step in commit.steps] == ["front", "files", "routes", "history"]
    assert "'v2 web'" in commit.steps[-1].shell and "docker" not in str(commit.steps)
    known = dataclasses.replace(samples.facts("lb-1", history=("v1 web", "v2 web")), targets={})
    back = wayback.undo(made, known, (), "v3", audit="back")
    names = [step.name for step in back.steps]
    assert names == ["ours", "traffic", "history", "files", "routes", "forget", "audit"]
    assert "link_current shop-web /var/lib/freehold/apps/shop/versions/v2" in str(back.steps)
    # A version that served is not forgotten for having no container.
    assert "forget" not in [step.name for step in wayback.undo(made, known, (), "v2", audit="back").steps]
    told = front.finish_steps(made, known, "v2")
    assert [step.name for step in told] == ["behind", "forget"]
    versions = tmp_path / "versions"
    for name in ("v1", "v2", "v0"):
        (versions / name).mkdir(parents=True)
    samples.run(told[1].shell.replace("/var/lib/freehold/apps/shop/versions", str(versions)))
    assert sorted(path.name for path in versions.iterdir()) == ["v1", "v2"]
    assert front.finish_steps(made, samples.facts("web-1"), "v2") == []
    # Where it runs something else, that is what keeps versions.
    busy = samples.facts("lb-1", samples.container("shop-jobs-v0"), history=("v1 web",))
    assert [step.name for step in front.finish_steps(made, busy, "v2")] == ["behind"]
    for script in (commit, back, front.recall(made, "v1")):
        samples.is_bash("\n".join(step.shell for step in script.steps))
