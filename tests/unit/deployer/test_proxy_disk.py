"""What the proxy answers with files of the host: pages, assets, what an answer names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployer.commands import assets, pages, site
from freehold.errors import ConfigError
from tests.unit.deployer import samples
from tests.unit.deployer.adapted import adapted, found, proxies


def test_pages_of_the_version_for_the_proxys_own_errors(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "502.html").write_text("<p>gone</p>")
    made = adapted(tmp_path, more={"error_pages_path": "public"}, shop={"host": "shop.test"})
    assert found(made, "freehold_pages") == [f"{tmp_path}/proxy/current/shop-web/pages"]
    assert found(adapted(tmp_path, shop={"host": "shop.test"}), "freehold_pages") == []


def test_a_page_is_named_after_one_status(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "5xx.html").write_text("<p>gone</p>")
    loaded = samples.config(tmp_path, error_pages_path="public")
    assert not loaded.error_pages
    assert any("no page of a status, such as 404.html" in warning for warning in loaded.warnings)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/rails/public/assets", "/assets"),
        ("/app/public/packs/js/:ro", "/packs/js"),
        ("/srv/static", ""),
        ("/app/public", ""),
    ],
)
def test_fingerprinted_assets_are_served_from_the_disk(tmp_path: Path, path: str, url: str) -> None:
    config = samples.config(tmp_path, asset_path=path)
    role = config.role("web")
    assert assets.url(role) == url
    made = adapted(tmp_path, more={"asset_path": path}, shop={"host": "shop.test"})
    patterns = [match["pattern"] for match in found(made, "path_regexp")]
    assert [pattern.startswith(f"^{url}/") for pattern in patterns] == ([True] if url else [])
    mount = assets.volume(config, role, "v1")[1]
    assert mount.startswith("/var/lib/freehold/apps/shop/assets/v1/web:/")
    assert mount.endswith(":ro") is path.endswith(":ro")


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("application-1f2e3d4c5b6a.css", True),
        ("turbo.min-3a4b5c6d7e8f90.js.map", True),
        ("index.BAKED123.js", False),
        ("app.0a1b2c3d.js", True),
        ("manifest.json", False),
        ("feedface.html", False),
    ],
)
def test_what_counts_as_a_fingerprint(name: str, served: bool) -> None:
    assert bool(re.search(site.FINGERPRINT, f"/{name}")) is served


@pytest.mark.parametrize(
    ("page", "message", "text"),
    [
        ("<p>{{ .Message }}</p>", "a < b", "<p>a &lt; b</p>"),
        ("{{ if .Message }}<p>{{.Message}}</p>{{ else }}soon{{ end }}", "", "soon"),
        ("{{- if .Message -}}<p>{{.Message}}</p>{{- else -}}soon{{- end -}}", "now", "<p>now</p>"),
        ("{{ if .Message }}{{ .Message }}{{ end }}.", r"\1", r"\1."),
    ],
)
def test_kamals_page_templates(page: str, message: str, text: str) -> None:
    assert pages.filled(page, message) == text


def test_files_that_an_answer_names_are_of_the_hosts_volumes(tmp_path: Path) -> None:
    more = {"volumes": ["/srv/shop/storage:/rails/storage", "/srv/big:/rails/storage/big", "data:/data"]}
    wanted = {"host": "shop.test", "sendfile": ["/rails/storage", "/rails/storage/big/x"]}
    made = adapted(tmp_path, more=more, shop=wanted)
    (first,) = proxies(made)
    roots = [root for handler in first["handle_response"] for root in found(handler, "root")]
    # The longer path is tried first, and of a path only what stands below the directory counts.
    assert list(dict.fromkeys(roots)) == ["/srv/big/x", "/srv/shop/storage"]
    assert first["headers"]["request"]["set"]["X-Sendfile-Type"] == ["X-Sendfile"]


@pytest.mark.parametrize(
    ("volumes", "inside", "said"),
    [
        ([], "/rails/storage", "no volume holds /rails/storage"),
        (["/srv/a:/rails/storage-old"], "/rails/storage", "no volume holds"),
        (["data:/rails/storage"], "/rails/storage", "is on the volume data, which only root reads"),
        (["/home/me/a:/rails/storage"], "/rails/storage/b", "is /home/me/a/b on the host, which is hidden"),
        (["~/a:/rails/storage"], "/rails/storage", "/a on the host, which is hidden"),
        (["/srv/{env.X}:/rails/storage"], "/rails/storage", "a path that the proxy's file cannot hold"),
        (["/srv/a:/rails/storage"], "/rails/../etc", "does not have the right form"),
        (["/srv/a:/rails/storage"], "rails/storage", "does not have the right form"),
    ],
)
def test_a_directory_that_the_proxy_could_not_read_is_refused(
    tmp_path: Path, volumes: list[str], inside: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        samples.config(tmp_path, volumes=volumes, proxy={"host": "a.test", "sendfile": [inside]})
    assert caught.value.where is not None and "proxy.sendfile" in caught.value.where.key
