"""Hosts that share a name: how a challenge finds the host that began, as the real Caddy understands it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import proxy
from tests.unit.deployer import samples
from tests.unit.deployer.adapted import adapted, found

SECURE = {"host": "shop.test", "ssl": True}


def passed(made: dict[str, Any]) -> list[list[str]]:
    """Whom each directive that passes a challenge on dials, the outer one first."""
    handlers = [one for handle in found(made["apps"]["http"], "handle") for one in handle]
    forwarding = [
        one for one in handlers if "Freehold-Challenge" in found(one.get("headers", {}), "set").__str__()
    ]
    return [[upstream["dial"] for upstream in one["upstreams"]] for one in forwarding]


def test_the_others_are_asked_in_turn(tmp_path: Path) -> None:
    made = adapted(tmp_path, more={"servers": ["web-1", "10.0.0.2", "fd00::3"]}, shop=SECURE)
    assert passed(made) == [["10.0.0.2:80", "[fd00::3]:80"], ["[fd00::3]:80"]]
    # Before the redirect, and not for what has been passed on already.
    text = json.dumps(made["apps"]["http"])
    assert text.index("acme-challenge") < text.index('"status_code": 308')
    ((matched,),) = [one for one in found(made, "match") if "acme-challenge" in str(one)]
    assert (matched["method"], matched["not"]) == (["GET"], [{"header": {"Freehold-Challenge": ["*"]}}])
    # What is no challenge goes nowhere.
    token = re.compile(matched["path_regexp"]["pattern"])
    assert token.search("/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0")
    for path in ("/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/../x", "/x"):
        assert not token.search(path)


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({**SECURE, "ssl_redirect": False}, ["80"]),
        ({**SECURE, "run": {"http_port": 8081}}, ["8081"]),
        ({"ssl": True, "ssl_on_demand": "/ask"}, ["80", "80"]),
        ({"hosts": ["*.shop.test"], "ssl": True, "ssl_on_demand": "/ask"}, ["80"]),
        ({"host": "shop.test"}, []),
        ({"host": "shop.test", "ssl": {"certificate_pem": "CERT", "private_key_pem": "KEY"}}, []),
    ],
)
def test_where_hosts_get_certificates_by_themselves(
    tmp_path: Path, settings: dict[str, Any], ports: list[str]
) -> None:
    made = adapted(tmp_path, more={"servers": ["web-1", "web-2"]}, shop=settings)
    assert passed(made) == [[f"web-2:{port}"] for port in ports]


def test_before_any_route_of_the_site(tmp_path: Path) -> None:
    made = adapted(
        tmp_path,
        more={"servers": ["web-1", "web-2"]},
        shop={**SECURE, "ssl_redirect": False, "path_prefixes": ["/.well-known", "/"]},
    )
    plain = next(
        json.dumps(one) for one in made["apps"]["http"]["servers"].values() if one.get("listen") == ["fd/3"]
    )
    assert plain.index("Freehold-Challenge") < plain.index("targets/shop-web")


def test_files_are_a_hosts_own(tmp_path: Path) -> None:
    """A host that comes or goes changes the files of the others, unless it does not concern them."""

    def made(host: str, *hosts: str, **settings: Any) -> dict[str, str]:
        config = samples.config(tmp_path, servers=list(hosts), proxy={**SECURE, **settings})
        return proxy.files(config, config.roles, host)

    assert made("web-1", "web-1", "web-2") == made("web-1", "web-1", "web-2")
    assert made("web-1", "web-1", "web-2") != made("web-2", "web-1", "web-2")
    assert made("web-1", "web-1", "web-2") != made("web-1", "web-1", "web-2", "web-3")
    assert made("web-1", "web-1") != made("web-1", "web-1", "web-2")
    plain = {"ssl": False}
    assert made("web-1", "web-1", **plain) == made("web-2", "web-1", "web-2", **plain)


def test_a_host_that_is_alone_passes_nothing_on(tmp_path: Path) -> None:
    assert passed(adapted(tmp_path, shop=SECURE)) == []
