"""HTTPS of the proxy's names: redirects, certificates, who is asked about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import certificates, proxy
from tests.unit.deployer import samples
from tests.unit.deployer.adapted import adapted, found, handlers, hosts, proxies


def test_https_with_a_redirect(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test", "ssl": True})
    assert len(proxies(made)) == 1
    redirects = [h for handle in found(made, "handle") for h in handle if h.get("status_code") == 308]
    assert redirects[0]["headers"]["Location"] == ["https://{http.request.host}{http.request.uri}"]
    listeners = [
        name for server in made["apps"]["http"]["servers"].values() for name in found(server, "listen")
    ]
    assert {name for names in listeners for name in names} == {"fd/3", "fd/4", "fdgram/5"}


def test_https_without_a_redirect_serves_both(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test", "ssl": True, "ssl_redirect": False})
    assert len(proxies(made)) == 2


OWN = {"ssl": {"certificate_pem": "CERT", "private_key_pem": "KEY"}}


@pytest.mark.parametrize("whole", [{"ssl": True}, {"ssl": True, "ssl_redirect": False}, OWN, {"ssl": False}])
@pytest.mark.parametrize("path", [{"ssl": False}, {"ssl": True}, {"ssl_redirect": False}, OWN])
@pytest.mark.parametrize("first", ["web", "api"])
def test_https_of_a_name_is_as_the_role_says_that_has_all_of_it(
    tmp_path: Path, whole: dict[str, Any], path: dict[str, Any], first: str
) -> None:
    roles = {
        "web": {"hosts": ["web-1"], "proxy": whole},
        "api": {"hosts": ["web-1"], "proxy": {"path_prefix": "/api", **path}},
    }
    files = []
    for servers in ({"web": roles["web"]}, {first: roles[first], **roles}):
        config = samples.config(tmp_path, {"CERT": "c", "KEY": "k"}, servers=servers)
        files.append(proxy.files(config, config.roles, "web-1"))
    site_file = "sites/shop.test.caddy"
    assert files[0][site_file] == files[1][site_file]
    assert set(files[1]) == {site_file, *(f"routes/shop.test/shop-{role}.caddy" for role in roles)}
    trusted = "trusted_proxies" in files[1]["routes/shop.test/shop-api.caddy"]
    assert trusted is (whole["ssl"] is False)


def test_only_the_role_that_has_a_whole_name_is_asked_about_it(tmp_path: Path) -> None:
    config = samples.config(
        tmp_path,
        proxy={"host": "*.shop.test", "ssl": True, "ssl_on_demand": "/ask"},
        servers={
            "web": {"hosts": ["web-1"]},
            "api": {"hosts": ["web-1"], "proxy": {"path_prefix": "/api"}},
        },
    )
    files = proxy.files(config, config.roles, "web-1")
    assert [path for path in files if path.startswith("routes/_ask/")] == ["routes/_ask/shop-web.caddy"]


PAIR = {"certificate_pem": "CERT", "private_key_pem": "KEY"}


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test", "ssl": PAIR})
    (loaded,) = made["apps"]["tls"]["certificates"]["load_files"]
    assert loaded["certificate"].startswith(f"{tmp_path}/proxy/certs/")
    assert loaded["certificate"][:-3] == loaded["key"][:-3]
    config = samples.config(
        tmp_path, secrets={"CERT": "another", "KEY": "its key"}, proxy={"host": "shop.test", "ssl": PAIR}
    )
    pair = certificates.pairs(config, config.roles)["web"]
    assert pair.name not in loaded["certificate"]
    assert "its key" not in "".join(proxy.files(config, config.roles, "web-1").values())
    text = certificates.store_fragment([pair])
    # Only the here documents hold it, and the files that they fill are the group's alone.
    assert "its key" not in re.sub(r"<<'FREEHOLD_END'\n.*?\nFREEHOLD_END", "", text, flags=re.DOTALL)
    assert "umask 027" in text


def test_a_certificate_for_any_name(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"ssl": PAIR})
    assert made["apps"]["tls"]["certificates"]["load_files"]
    assert hosts(made) == []
    # Over HTTP it redirects, as the route itself says.
    assert {"protocol": "http"} in found(made, "match")[0] + [m for ms in found(made, "match") for m in ms]
    assert [one["status_code"] for one in handlers(made, "static_response")].count(308) == 2
