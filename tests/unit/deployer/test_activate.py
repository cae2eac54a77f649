"""Making the files of a version those of the proxy, by the host's own words."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import accessory, layout, phases, proxy, site
from deployer.config import DeployConfig
from deployer.report import step_error
from deployer.script import Script
from tests.unit.deployer import samples
from tests.unit.deployer.standin import StandIn


class Place:
    """A proxy's directory, and a Caddy that answers as it is told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.proxy = directory / "proxy"
        self.proxy.mkdir()
        self.caddy("exit 0")

    def caddy(self, text: str) -> None:
        program = self.directory / "caddy"
        program.write_text(f"#!/bin/sh\necho reload >>{self.directory}/reloads\n{text}\n")
        program.chmod(0o755)

    @property
    def reloads(self) -> int:
        path = self.directory / "reloads"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def version(self, name: str, files: dict[str, str]) -> Path:
        root = self.directory / name
        shutil.rmtree(root, ignore_errors=True)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    def activate(self, want: Path | str, *names: str) -> subprocess.CompletedProcess[str]:
        library = layout.library().replace(f"PROXY={layout.PROXY}\n", f"PROXY={self.proxy}\n")
        library = library.replace(f"LOCKS={layout.LOCKS}\n", f"LOCKS={self.directory}\n")
        library = library.replace(f"REFUSED={layout.REFUSED}\n", f"REFUSED={self.directory}/refused\n")
        library = library.replace(f"CADDY={layout.CADDY}\n", f"CADDY={self.directory}/caddy\n")
        words = " ".join([str(want), *names])
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{library}\nactivate {words}"], capture_output=True, text=True
        )

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.proxy)): path.read_text()
            for path in sorted(self.proxy.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


ONE = {"sites/a.test.caddy": "site", "routes/a.test/shop.caddy": "route"}
MOVED = {"sites/b.test.caddy": "site", "routes/b.test/shop.caddy": "route"}


def test_new_files_are_loaded_once(place: Place) -> None:
    want = place.version("v1", ONE)
    assert place.activate(want, "shop.caddy").stdout == "routes changed\n"
    assert place.files() == ONE
    assert place.activate(want, "shop.caddy").stdout == "routes unchanged\n"
    assert place.reloads == 1


def test_only_the_named_roles_follow_a_version(place: Place) -> None:
    """The others are at another version, whatever files of theirs this one has."""
    old = place.version("v1", ONE | {"routes/a.test/api.caddy": "api"})
    place.activate(old, "shop.caddy", "api.caddy")
    new = place.version(
        "v2", {"sites/b.test.caddy": "b", "routes/b.test/shop.caddy": "2", "routes/a.test/api.caddy": "2"}
    )
    place.activate(new, "api.caddy")
    assert place.files() == ONE | {"routes/a.test/api.caddy": "2"}
    place.activate("/nonexistent", "api.caddy")
    assert place.files() == ONE


def test_a_name_that_is_not_served_any_more_goes_with_its_site(place: Place) -> None:
    place.activate(place.version("v1", ONE), "shop.caddy")
    place.activate(place.version("v2", MOVED), "shop.caddy")
    assert place.files() == MOVED


def test_the_routes_of_others_stay(place: Place) -> None:
    place.activate(place.version("v1", ONE), "shop.caddy")
    api = {"sites/a.test.caddy": "site", "routes/a.test/api.caddy": "api"}
    place.activate(place.version("api", api), "api.caddy")
    assert place.files() == {**ONE, **api}
    place.activate("/nonexistent", "shop.caddy")
    assert place.files() == api
    place.activate("/nonexistent", "api.caddy")
    assert place.files() == {}


def test_a_path_of_a_name_leaves_the_site_of_the_whole_name_alone(place: Place) -> None:
    place.activate(place.version("v1", {**ONE, "sites/a.test.caddy": "https"}), "shop.caddy")
    of_path = f"{site.OF_A_PATH}\nhttp"
    api = {"sites/a.test.caddy": of_path, "routes/a.test/api.caddy": "api"}
    place.activate(place.version("api", api), "api.caddy")
    assert place.files() == {**ONE, "sites/a.test.caddy": "https", "routes/a.test/api.caddy": "api"}
    # Where there is no other, and where the other one comes later, the right one stands.
    place.activate("/nonexistent", "shop.caddy")
    place.activate("/nonexistent", "api.caddy")
    place.activate(place.version("api", api), "api.caddy")
    assert place.files() == api
    place.activate(place.version("v1", {**ONE, "sites/a.test.caddy": "https"}), "shop.caddy")
    assert place.files()["sites/a.test.caddy"] == "https"


def test_what_the_proxy_refuses_is_taken_back(place: Place) -> None:
    place.activate(place.version("v1", ONE), "shop.caddy")
    place.caddy("echo 'Error: adapting config: no such directive' >&2; exit 1")
    bad = {**MOVED, "routes/a.test/shop.caddy": "other"}
    done = place.activate(place.version("v2", bad), "shop.caddy")
    assert done.returncode == 1
    assert "caddy| Error: adapting config: no such directive" in done.stdout
    assert "failed: the proxy refuses the new routes" in done.stdout
    kept = place.files()
    # Loaded again at the next chance, as nobody knows what the proxy holds now.
    kept.pop("unloaded", None)
    assert kept == ONE


def test_files_that_were_changed_but_never_loaded_are_loaded_later(place: Place) -> None:
    want = place.version("v1", ONE)
    place.activate(want, "shop.caddy")
    (place.proxy / "unloaded").touch()
    assert place.activate(want, "shop.caddy").stdout == "routes changed\n"
    assert place.activate(want, "shop.caddy").stdout == "routes unchanged\n"
    assert place.reloads == 2


def test_a_lock_that_is_never_free_is_told(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    host.program("flock", "#!/bin/sh\nexit 1\n")
    done = host.words("activate /nonexistent shop-web.caddy")
    assert (done.returncode, done.stdout) == (
        1,
        "failed: another deploy of this host has held the proxy's routes for 60 s\n",
    )
    done = host.words("free_address shop-web-v2")
    assert (done.returncode, done.stdout) == (
        1,
        "failed: another deploy of this host has held the addresses for 30 s\n",
    )


# Two services


def stored(host: StandIn, config: DeployConfig, version: str = "v1") -> str:
    """Begin to prepare a version on web-1, and activate it; the error where it is refused."""
    prepared = phases.prepare(config, "web-1", config.roles_on("web-1"), version, "image")
    store = dataclasses.replace(prepared, steps=prepared.steps[:1])
    result = host.run(store)
    if not result.ok:
        return str(step_error(store, result))
    done = host.words(proxy.activate_fragment(config, version))
    assert done.returncode == 0, done.stdout
    return ""


def test_what_another_service_serves_is_refused(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    names = {"hosts": ["shop.test", "*.shop.test"], "app_port": 80}
    shop = samples.config(tmp_path, proxy=names)
    assert stored(host, shop) == ""
    before = host.routes()
    for other, claimed in (
        ({"host": "shop.test"}, "shop.test"),
        ({"host": "x.test,*.shop.test"}, "*.shop.test"),
    ):
        blog = samples.config(tmp_path, service="blog", proxy=other)
        said = stored(host, blog)
        assert f"shop-web serves {claimed} on this host already" in said, said
    assert host.routes() == before
    api = samples.config(tmp_path, service="api", proxy={"host": "shop.test", "path_prefix": "/api"})
    assert stored(host, api) == stored(host, api, "v2") == stored(host, shop, "v2") == ""
    more = samples.config(tmp_path, service="more", proxy={"host": "shop.test", "path_prefix": "/more,/api"})
    said = stored(host, more)
    assert "api-web serves shop.test/api on this host already" in said, said


def link(host: StandIn, config: DeployConfig, version: str = "v1") -> None:
    """Its version serves."""
    for role in config.roles_on("web-1"):
        done = host.words(proxy.link_fragment(config, role, version))
        assert done.returncode == 0, done.stdout


def test_a_rollback_asks_whether_a_name_has_been_claimed(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    old = samples.config(tmp_path, servers={"web": ["web-1"]})
    moved = samples.config(tmp_path, servers={"web": ["web-1"]}, proxy={"host": "new.test", "app_port": 80})
    assert stored(host, old) == stored(host, moved, "v2") == ""
    host.container("shop-web-v1", "172.30.0.9", "exited")
    # Until somebody has, and for `app start`, which changes no routes, there is nothing to say.
    back = phases.revive(old, old.roles, {"web": "v1"}, rollback=True)
    start = phases.revive(old, old.roles, {"web": "v1"})
    begin = dataclasses.replace(back, steps=back.steps[:2])
    assert host.run(begin).ok
    blog = samples.config(tmp_path, service="blog", servers={"web": ["web-1"]})
    assert stored(host, blog) == ""
    before = host.routes()
    error = step_error(back, host.run(back))
    assert "web-1" in str(error) and "blog-web serves shop.test on this host already" in str(error)
    assert "another proxy.host or path_prefix" in error.hint
    assert host.containers == {"shop-web-v1": "exited"} and host.routes() == before
    assert host.run(dataclasses.replace(start, steps=start.steps[:2])).ok
    assert host.containers == {"shop-web-v1": "running"}


OWN: dict[str, Any] = {"ssl": {"certificate_pem": "CERT", "private_key_pem": "KEY"}}
AUTO: dict[str, Any] = {"ssl": True}
BESIDE: dict[str, Any] = {"ssl": True, "ssl_redirect": False}
PLAIN: dict[str, Any] = {"ssl": False}
WAYS = {
    "HTTPS with an automatic certificate": AUTO,
    "HTTPS with an automatic certificate, beside HTTP": BESIDE,
    "HTTPS with a certificate of its own": OWN,
    "HTTP alone": PLAIN,
}


def service(directory: Path, name: str, prefix: str = "", **ssl: Any) -> DeployConfig:
    """One that serves a name, or but a path of it."""
    path = {"path_prefix": prefix} if prefix else {}
    values = {"CERT": f"certificate of {name}", "KEY": "k"}
    return samples.config(
        directory,
        values,
        service=name,
        servers={"web": ["web-1"]},
        proxy={"host": "shop.test", **path, **ssl},
    )


@pytest.mark.parametrize("theirs", WAYS)
@pytest.mark.parametrize("mine", WAYS)
@pytest.mark.parametrize("whole", ["shop", "api", ""])
def test_services_of_a_name_have_https_in_one_way(tmp_path: Path, theirs: str, mine: str, whole: str) -> None:
    """There is one site for a name: without this, whichever is deployed last decides for the other too."""
    host = StandIn(tmp_path)
    shop = service(tmp_path, "shop", "" if whole == "shop" else "/shop", **WAYS[theirs])
    api = service(tmp_path, "api", "" if whole == "api" else "/api", **WAYS[mine])
    assert stored(host, shop) == ""
    link(host, shop)
    before = host.routes()
    said = stored(host, api)
    # One that has a path without HTTPS leaves that to the other.
    leaves = (theirs == "HTTP alone" and whole != "shop") or (mine == "HTTP alone" and whole != "api")
    if theirs == mine or leaves:
        assert said == ""
        link(host, api)
        assert stored(host, shop, "v2") == stored(host, api, "v2") == ""
        decides = theirs if mine == "HTTP alone" and whole != "api" else mine
        assert how(host) == (decides if decides != "HTTP alone" or whole else "")
        return
    assert "web-1" in said and f"proxy.ssl: shop-web serves shop.test on this host by {theirs}" in said, said
    assert f"this one would by {mine}" in said
    assert host.routes() == before


def how(host: StandIn) -> str:
    """How the site of the name serves it."""
    return host.words("https_of $PROXY/sites/shop.test.caddy").stdout.strip()


def test_the_way_of_a_name_is_changed_where_nobody_else_has_one(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    shop, api = service(tmp_path, "shop", **AUTO), service(tmp_path, "api", "/api", **AUTO)
    for one in (shop, api):
        assert stored(host, one) == ""
        link(host, one)
    assert "api-web serves shop.test" in stored(host, service(tmp_path, "shop", **OWN), "v2")
    # What the hint says.
    plain = service(tmp_path, "api", "/api")
    assert stored(host, plain, "v2") == ""
    link(host, plain, "v2")
    own = service(tmp_path, "shop", **OWN)
    assert stored(host, own, "v3") == ""
    link(host, own, "v3")
    assert how(host) == "HTTPS with a certificate of its own"


def test_an_accessory_has_a_way_too(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    served = {"host": "shop.test", "path_prefix": "/search", "app_port": 80, **AUTO}
    search = {"image": "search:1", "host": "web-1", "proxy": served}
    config = samples.config(tmp_path, servers={"web": ["web-1"]}, accessories={"search": search})
    steps = accessory.ready_steps(config, config.accessories[0], "web-1")
    assert host.run(Script((steps[-1],), library=layout.library())).ok
    said = stored(host, service(tmp_path, "blog", **OWN))
    assert "shop-search serves shop.test on this host by HTTPS with an automatic certificate" in said, said


def test_a_destination_is_another_service(tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    first = samples.config(tmp_path, proxy={"app_port": 80})
    assert stored(host, first) == ""
    said = stored(host, dataclasses.replace(first, destination="staging"))
    assert "shop-web serves every name on this host already" in said, said


def test_a_role_of_its_own_is_no_other_service(tmp_path: Path) -> None:
    """It has another name now, or is left out of this deploy."""
    host = StandIn(tmp_path)
    assert stored(host, samples.config(tmp_path)) == ""
    (web, *_) = samples.config(tmp_path).roles
    shop = samples.config(tmp_path)
    front = dataclasses.replace(shop, roles=(dataclasses.replace(web, name="front"),))
    assert stored(host, front, "v2") == ""


def test_a_proxy_that_refused_its_files_is_asked_again(tmp_path: Path) -> None:
    """It serves by those it accepted before; what is broken may be another service's."""
    place = Place(tmp_path)
    want = place.version("v1", ONE)
    place.activate(want, "shop.caddy")
    (tmp_path / "refused").write_text("sites/b.test.caddy:1: nonsense")
    place.caddy("exit 1")
    done = place.activate(want, "shop.caddy")
    assert done.returncode == 0 and "sites/b.test.caddy:1: nonsense" in done.stdout
    place.caddy("exit 0")
    assert place.activate(want, "shop.caddy").stdout == "routes unchanged\n"
    assert place.reloads == 3
