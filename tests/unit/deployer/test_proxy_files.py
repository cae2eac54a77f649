"""The proxy's sites and routes: what the real Caddy makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import canary, proxy, site
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import UsageError
from tests.unit.deployer import samples
from tests.unit.deployer.adapted import adapted, found, handlers, hosts, proxies


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


def test_a_name_that_leads_to_another(tmp_path: Path) -> None:
    led = {"host": "a.test", "redirect_from": ["www.a.test", "old.test"], "path_prefix": "/shop"}
    made = adapted(tmp_path, shop=led)
    assert sorted(hosts(made)) == ["a.test", "old.test", "www.a.test"]
    assert found(made, "Location") == [["//a.test{http.request.uri}"]] * 2
    (tmp_path / "secure").mkdir()
    secure = adapted(tmp_path / "secure", shop={**led, "ssl": True})
    # By HTTP and by HTTPS at once to where it ends; the name itself goes by HTTPS first.
    where = [location for (location,) in found(secure, "Location")]
    assert where.count("https://a.test{http.request.uri}") == 4
    assert set(where) == {
        "https://a.test{http.request.uri}",
        "https://{http.request.host}{http.request.uri}",
    }
    config = samples.config(tmp_path, proxy={**led, "ssl": True}, servers=["web-1", "web-2"])
    assert dict(config.sharing) == dict.fromkeys(("a.test", "www.a.test", "old.test"), ("web-1", "web-2"))
    proxied = config.roles[0].proxy
    assert proxied is not None and proxied.automatic == ("a.test", "www.a.test", "old.test")


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
    assert canary.parse_state(result) == {"shop-web": canary.Tried("v2", 50.0)}


def test_some_visitors_are_chosen_whatever_their_part(tmp_path: Path) -> None:
    said = ("header X-Beta=1", " cookie  beta=a=b", "address 2001:db8::1", "address 203.0.113.0/24", "none")
    allowed = canary.parse_allowed(said)
    shown = tuple(map(str, allowed))
    assert shown == (
        *("header X-Beta=1", "cookie beta=a=b", "address 2001:db8::1/128", "address 203.0.113.0/24"),
    )
    place = tmp_path / "proxy" / "allowed" / "shop-web"
    place.mkdir(parents=True)
    (place / "rules.caddy").write_text(canary.rules(allowed))
    made = adapted(tmp_path, shop={"host": "a.test"})
    parts = [one["freehold_part"] for one in handlers(made, "vars") if "freehold_part" in one]
    assert parts == ["{freehold_share}", *["canary"] * 4]
    assert found(made, "X-Beta") == [["1"]]
    assert found(made, "ranges") == [["2001:db8::1/128"], ["203.0.113.0/24"]]
    assert {"{http.request.cookie.beta}": ["a=b"]} in found(made, "vars")

    config = samples.config(tmp_path)
    roles = config.roles_on("web-2")
    first, second = canary.split(config, roles, "v2", 10, allowed=allowed[:1], audit="me").steps[:2]
    assert first.shell.startswith("allow_visitors shop-web <<") and canary.rules(allowed[:1]) in first.shell
    assert second.shell.startswith("split_to ")
    line = "shop-web\tv2\t0\theader X-Beta=1\tcookie beta=a=b"
    result = ScriptResult("web-1", 0, (StepOutcome("canary", "ok", 0.1, (line,)),))
    assert canary.parse_state(result) == {"shop-web": canary.Tried("v2", 0.0, shown[:2])}


@pytest.mark.parametrize(
    "text",
    [
        *("X-Beta=1", "header X-Beta", "header X-Beta=", "header X Beta=1", 'cookie a="b"', "cookie a={b}"),
        *("header X-Beta=b*", "header X-Beta=a`b", "address here", "address 203.0.113.1/24", ""),
    ],
)
def test_a_text_that_names_no_visitors(text: str) -> None:
    with pytest.raises(UsageError, match="--allow") as caught:
        canary.parse_allowed([text])
    assert "header NAME=VALUE" in caught.value.hint


def test_maintenance_comes_before_the_container(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test"})
    page = f"{tmp_path}/proxy/maintenance/shop-web.html"
    answer = next(one for one in handlers(made, "static_response") if one.get("status_code") == 503)
    assert answer["body"] == f"{{file.{page}}}"
    text = json.dumps(made)
    assert text.index("maintenance/shop-web.html") < text.index('"handler": "reverse_proxy"')


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, ["/up"]),
        ({"healthcheck": {"path": "/health"}, "path_prefix": "/api"}, ["/api/health"] * 2),
        ({"path_prefix": "/api", "strip_path_prefix": False}, ["/up"] * 2),
        ({"healthcheck": {"path": '/a" b'}}, []),
    ],
)
def test_a_load_balancer_is_told_that_all_is_well(
    tmp_path: Path, settings: dict[str, Any], asked: list[str]
) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test", **settings})
    places = [path for one in found(made, "vars") for path in one.get("{http.request.uri.path}", [])]
    assert places == asked
    away = ["maintenance/shop-web.html", "targets/.shop-web.paused"]
    assert [one for one in found(made, "try_files") if one == away] == [away] * len(asked)
    # Before the page of the maintenance, and only where that or a pause is.
    codes = [one["status_code"] for one in handlers(made, "static_response") if "status_code" in one]
    served = [code for code in codes if code in (200, 503)]
    assert served == ([200, 503] * len(asked) if asked else [503])


def test_an_application_is_told_when_a_request_came_and_by_which_number(tmp_path: Path) -> None:
    made = adapted(tmp_path, shop={"host": "shop.test"})
    routes = [route for routes in found(made, "routes") for route in routes]
    told = {
        name: (route["match"], value)
        for route in routes
        for handler in route["handle"]
        if handler["handler"] == "headers" and "request" in handler
        for name, value in handler["request"]["set"].items()
    }
    assert told == {
        "X-Request-Id": ([{"not": [{"header": {"X-Request-Id": ["*"]}}]}], ["{http.request.uuid}"]),
        "X-Request-Start": ([{"not": [{"header": {"X-Request-Start": ["*"]}}]}], ["t={time.now.unix_ms}"]),
    }


def test_the_main_file_without_any_service(tmp_path: Path) -> None:
    made = adapted(tmp_path)
    assert proxies(made) == []
    assert [one.get("status_code") for one in handlers(made, "static_response")] == [404]


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
