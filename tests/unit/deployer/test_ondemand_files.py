"""Certificates at the first visit: what the real Caddy makes of the files, and who is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.deployer.adapted import adapted, found

ASK = "/domains/allowed"
QUERY = "?domain={http.request.uri.query.domain}&host={http.request.uri.query.domain}"


def policies(made: dict[str, Any]) -> list[tuple[tuple[str, ...], bool]]:
    """Names (none: all others) and whether their certificates are got at the first visit."""
    listed = made["apps"]["tls"]["automation"]["policies"]
    return sorted((tuple(one.get("subjects", ())), one.get("on_demand", False)) for one in listed)


def asked(made: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Pattern of the names, the address that is asked, and where, in the order in which they are tried."""
    (server,) = (
        one for one in made["apps"]["http"]["servers"].values() if one.get("listen") == ["127.0.0.1:2018"]
    )
    blocks = [route for route in found(server["routes"], "routes")[0] if found(route, "dial")]
    return [
        (
            next(iter(found(block, "pattern")), ""),
            found(block, "dial")[0].rsplit("/", 1)[-1],
            found(block, "uri")[0],
        )
        for block in blocks
    ]


def test_any_name_may_come(tmp_path: Path) -> None:
    made = adapted(
        tmp_path,
        shop={"host": "shop.test", "ssl": True},
        pages={"ssl": True, "ssl_on_demand": ASK},
    )
    # The name of the other service is not drawn into it.
    assert policies(made) == [((), True), (("shop.test",), False)]
    assert made["apps"]["tls"]["automation"]["on_demand"]["permission"] == {
        "endpoint": "http://127.0.0.1:2018",
        "module": "http",
    }
    assert asked(made) == [("", "pages-web}", f"{ASK}{QUERY}")]


def test_each_service_answers_for_its_own_names(tmp_path: Path) -> None:
    made = adapted(
        tmp_path,
        any={"ssl": True, "ssl_on_demand": "/any"},
        shop={"hosts": ["shop.test", "*.shop.test"], "ssl": True, "ssl_on_demand": "/shop"},
        zoo={"host": "*.zoo.test", "ssl": True, "ssl_on_demand": "https://zoo.test/may"},
    )
    assert policies(made)[0] == ((), True)
    assert [(names, later) for names, later in policies(made) if names == ("shop.test",)] == [
        (("shop.test",), False)
    ]
    # That of any name comes last, though its file is the first.
    assert asked(made) == [
        (r"^[^.]+\.shop\.test$", "shop-web}", f"/shop{QUERY}"),
        (r"^[^.]+\.zoo\.test$", "zoo.test:443", f"/may{QUERY}"),
        ("", "any-web}", f"/any{QUERY}"),
    ]


def test_names_that_differ_in_a_sign_only(tmp_path: Path) -> None:
    made = adapted(
        tmp_path,
        shop={"hosts": ["*.a-b.test", "*.a.b.test", "*.A_b.test"], "ssl": True, "ssl_on_demand": ASK},
    )
    assert [pattern for pattern, _, _ in asked(made)] == [
        r"^[^.]+\.a\-b\.test$",
        r"^[^.]+\.a\.b\.test$",
        r"^[^.]+\.a_b\.test$",
    ]


def test_without_it_the_proxy_has_no_further_port(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test", "ssl": True})
    listened = {
        name for server in made["apps"]["http"]["servers"].values() for name in server.get("listen", ())
    }
    assert not any("2018" in name for name in listened)


@pytest.mark.parametrize("wrong", ["allowed", "ftp://a.test/x", "/a b", "/a?b=c", "https://a.test"])
def test_whom_it_cannot_ask(tmp_path: Path, wrong: str) -> None:
    from freehold.errors import ConfigError

    with pytest.raises(ConfigError, match=r"ssl_on_demand.*does not have the right form"):
        adapted(tmp_path, shop={"ssl": True, "ssl_on_demand": wrong})
