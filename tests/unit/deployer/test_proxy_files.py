"""The proxy's sites and routes: what the real Caddy makes of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloudinit.parts.proxy import caddyfile
from cloudinit.profile import HostProfile
from deployer.commands import assets, canary, certificates, layout, pages, proxy, site
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import ConfigError
from tests.unit.deployer import samples

CADDY = Path(sys.executable).parent / "caddy"


def adapted(directory: Path, *, more: dict[str, Any] | None = None, **proxies: Any) -> dict[str, Any]:
    """What Caddy understands of the main file with the routes of these services."""
    place = directory / "proxy"
    for service, settings in proxies.items():
        config = samples.config(
            directory,
            secrets={"CERT": "a certificate", "KEY": "its key"},
            **{"service": service, "proxy": settings, "servers": ["web-1"], **(more or {})},
        )
        for path, text in proxy.files(config, config.roles, "web-1").items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text.replace(layout.PROXY, str(place)))
    (place / "routes" / layout.DEFAULT_HOST).mkdir(parents=True, exist_ok=True)
    (place / "sites").mkdir(exist_ok=True)
    main = directory / "Caddyfile"
    main.write_text(caddyfile(HostProfile()).replace(layout.PROXY, str(place)))
    done = subprocess.run(
        [CADDY, "adapt", "--config", main, "--adapter", "caddyfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def found(value: Any, key: str) -> list[Any]:
    """Every value under a key, anywhere, in order."""
    if isinstance(value, dict):
        return [x for k, v in value.items() for x in ([v] if k == key else []) + found(v, key)]
    return [x for item in value for x in found(item, key)] if isinstance(value, list) else []


def proxies(made: dict[str, Any], *, tried: bool = False) -> list[dict[str, Any]]:
    """What passes requests on; `tried`: to a version that is being tried."""
    return [
        handler
        for handle in found(made["apps"]["http"], "handle")
        for handler in handle
        if handler["handler"] == "reverse_proxy"
        and handler["upstreams"][0]["dial"].endswith("/target}") is tried
    ]


def hosts(made: dict[str, Any]) -> list[str]:
    servers = made["apps"]["http"]["servers"].values()
    return [name for server in servers for names in found(server.get("routes", []), "host") for name in names]


def test_a_host_name_leads_to_the_target_that_the_file_says(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test"})
    (one,) = proxies(made)
    assert one["upstreams"] == [{"dial": f"tcp/{{file.{tmp_path}/proxy/targets/shop-web}}"}]
    assert one["load_balancing"]["try_duration"] == site.HOLD * 10**9
    assert hosts(made) == ["shop.test"]
    assert "https_port" not in made["apps"]["http"]


def test_no_host_name_means_any(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"ssl": False})
    assert len(proxies(made)) == 1
    assert hosts(made) == []


def test_several_names_and_a_wildcard(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"hosts": ["a.test", "*.b.test"]})
    assert sorted(hosts(made)) == ["*.b.test", "a.test"]
    assert len(proxies(made)) == 2


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


def test_two_services_share_a_host_name_by_their_paths(tmp_path: Path) -> None:
    made = adapted(
        tmp_path,
        shop={"host": "shop.test"},
        api={"host": "shop.test", "path_prefixes": ["/api", "/api/v2/"], "strip_path_prefix": False},
    )
    dials = [one["upstreams"][0]["dial"].rsplit("/", 1)[1] for one in proxies(made)]
    assert dials == [*["api-web}"] * 4, "shop-web}"]
    assert found(made, "path") == [["/api/v2/*"], ["/api/v2"], ["/api/*"], ["/api"]]
    assert found(made, "strip_path_prefix") == []


def test_the_longest_path_wins_whichever_service_has_it(tmp_path: Path) -> None:
    made = adapted(
        tmp_path,
        a={"host": "shop.test", "path_prefix": "/api"},
        b={"host": "shop.test", "path_prefix": "/api/v2"},
        c={"host": "shop.test", "path_prefix": "/"},
    )
    dials = [one["upstreams"][0]["dial"].rsplit("/", 1)[1] for one in proxies(made)]
    assert dials == ["b-web}", "b-web}", "a-web}", "a-web}", "c-web}"]


def test_a_prefix_is_taken_off_and_told(tmp_path: Path) -> None:
    made = adapted(tmp_path, api={"host": "shop.test", "path_prefix": "/api"})
    assert found(made, "strip_path_prefix") == ["/api", "/api"]
    assert found(made, "X-Forwarded-Prefix") == [["/api"], ["/api"]]


@pytest.mark.parametrize(
    ("settings", "trusted"),
    [
        ({"host": "a.test"}, True),
        ({"host": "a.test", "ssl": True}, False),
        ({"host": "a.test", "ssl": True, "forward_headers": True}, True),
        ({"host": "a.test", "forward_headers": False}, False),
    ],
)
def test_forwarded_headers_are_trusted_where_something_stands_in_front(
    tmp_path: Path, settings: dict[str, Any], trusted: bool
) -> None:
    made = adapted(tmp_path, shop=settings)
    assert bool(proxies(made)[0].get("trusted_proxies")) is trusted


def test_the_answer_may_take_as_long_as_the_file_says(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "a.test", "response_timeout": 5})
    assert [one["transport"]["response_header_timeout"] for one in proxies(made)] == [5 * 10**9]


def handlers(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    servers = made["apps"]["http"]["servers"].values()
    return [
        handler
        for server in servers
        for handle in found(server.get("routes", []), "handle")
        for handler in handle
        if handler["handler"] == kind
    ]


def test_bodies_are_taken_in_as_the_file_says(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "a.test"})
    assert proxies(made)[0]["request_buffers"] == site.BUFFER
    assert "response_buffers" not in proxies(made)[0]
    assert handlers(made, "request_body") == []
    limits = {"responses": True, "memory": "2m", "max_request_body": 5_000_000}
    made = adapted(tmp_path, shop={"host": "a.test", "buffering": limits})
    streamed, kept = proxies(made)
    assert kept["response_buffers"] == kept["request_buffers"] == 2 * 1024**2
    assert "response_buffers" not in streamed
    assert {"Accept": ["*text/event-stream*"]} in found(made, "header")
    assert handlers(made, "request_body")[0]["max_size"] == 5_000_000
    made = adapted(tmp_path, shop={"host": "a.test", "buffering": {"requests": False}})
    assert "request_buffers" not in proxies(made)[0]


def test_the_access_log_names_the_service_and_the_headers_it_wants(tmp_path: Path) -> None:
    def fields(**settings: Any) -> dict[str, str]:
        made = adapted(tmp_path, shop={"host": "a.test", **settings})
        return {one["key"]: one["value"] for one in handlers(made, "log_append")}

    assert fields()["service"] == "shop-web"
    assert fields()["req_user_agent"] == "{http.request.header.User-Agent}"
    own = fields(logging={"request_headers": ["X-Trace"], "response_headers": ["X-Runtime"]})
    assert own["req_x_trace"] == "{http.request.header.X-Trace}"
    assert own["resp_x_runtime"] == "{http.response.header.X-Runtime}"
    assert "req_user_agent" not in own
    made = adapted(tmp_path, shop={"host": "a.test"})
    written = made["logging"]["logs"]["proxy"]
    assert written["encoder"]["fields"]["request>headers"] == {"filter": "delete"}
    assert written["writer"]["mode"] == "0640"


PAIR = {"certificate_pem": "CERT", "private_key_pem": "KEY"}


def test_a_share_of_the_visitors_goes_elsewhere(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "a.test", "response_timeout": 5})
    (one,) = proxies(made, tried=True)
    assert one["upstreams"] == [{"dial": f"tcp/{{file.{tmp_path}/proxy/canary/shop-web/target}}"}]
    assert one["transport"]["response_header_timeout"] == 5 * 10**9
    config = samples.config(tmp_path)
    (tmp_path / "place").mkdir()
    script = canary.split(config, config.roles_on("web-2"), "v2", 10, audit="me")
    assert script.steps[0].shell == "split_to shop-web-v2 shop-web 3000 v2 26"
    assert [canary.parts(percent) for percent in (0, 0.1, 50, 100)] == [0, 1, 128, 256]
    result = ScriptResult("web-1", 0, (StepOutcome("canary", "ok", 0.1, ("shop-web\tv2\t128",)),))
    assert canary.parse_state(result) == {"shop-web": ("v2", 50.0)}


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


def test_maintenance_comes_before_the_container(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test"})
    page = f"{tmp_path}/proxy/maintenance/shop-web.html"
    answer = next(one for one in handlers(made, "static_response") if one.get("status_code") == 503)
    assert answer["body"] == f"{{file.{page}}}"
    text = json.dumps(made)
    assert text.index("maintenance/shop-web.html") < text.index('"handler": "reverse_proxy"')


def test_pages_of_the_version_for_the_proxys_own_errors(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "502.html").write_text("<p>gone</p>")
    made = adapted(tmp_path, more={"error_pages_path": "public"}, shop={"host": "shop.test"})
    assert found(made, "freehold_pages") == [f"{tmp_path}/proxy/current/shop-web/pages"]
    assert found(adapted(tmp_path, shop={"host": "shop.test"}), "freehold_pages") == []


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


def test_the_main_file_without_any_service(tmp_path: Path) -> None:
    made = adapted(tmp_path)
    assert proxies(made) == []
    assert [one.get("status_code") for one in handlers(made, "static_response")] == [404]


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


def test_a_limit_on_answers_asks_for_their_length(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test", "buffering": {"max_response_body": "1k"}})
    (first,) = proxies(made)
    (handler,) = first["handle_response"]
    assert handler["match"] == {"headers": {"Content-Length": ["*"]}}
    assert "> 1024" in json.dumps(handler, ensure_ascii=False).replace("\\u003e", ">")


def test_how_long_a_drain_may_take_changes_no_route(tmp_path: Path) -> None:
    """A route that changes is a reload of the proxy, at which a connection may be lost."""
    config = samples.config(tmp_path)
    longer = samples.config(tmp_path, drain_timeout=99, deploy_timeout=99, stop_timeout=99)
    assert proxy.files(config, config.roles, "web-1") == proxy.files(longer, longer.roles, "web-1")
