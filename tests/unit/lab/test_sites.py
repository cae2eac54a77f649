"""Sites under their own names: what the proxy's files say, and the browsers that are told where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.commands.site import site
from deployer.config import Proxy
from lab.report import hosts_block
from lab.sites import Site, browser, desktop, hosts_lines, leads_to, sites
from tests.unit.lab.samples import lab_state


def test_a_site_is_read_as_the_deployer_writes_it() -> None:
    """The lab stands below the deployer, and so has only the text."""
    plain = site(Proxy(ssl=False), "shop.example.com")
    secure = site(Proxy(ssl=True), "pay.example.com")
    nameless = site(Proxy(ssl=False), "") + site(Proxy(ssl=False), "*.example.com")
    assert sites(plain + secure + nameless) == (
        Site("shop.example.com", secure=False),
        Site("pay.example.com", secure=True),
    )
    assert sites("") == ()


def test_a_browser_is_sent_to_the_machines_own_ports() -> None:
    machine = lab_state().machines[0]
    assert Site("a.example", secure=False).url(machine) == "http://a.example:8080/"
    assert Site("a.example", secure=True).url(machine) == "https://a.example:8443/"
    usual = replace(machine, http_port=80, https_port=443)
    assert Site("a.example", secure=False).url(usual) == "http://a.example/"
    assert Site("a.example", secure=True).url(usual) == "https://a.example/"


def test_a_name_in_the_hosts_file_means_one_machine() -> None:
    shop, blog = Site("shop.example.com", secure=False), Site("blog.example.com", secure=True)
    lines = hosts_lines({"web-1": (shop,), "web-2": (shop, blog)}, lab_state())
    assert lines == "127.80.3.11 shop.example.com\n127.80.3.12 blog.example.com\n"
    assert hosts_block(lab_state(), more=lines).splitlines()[-3:] == [
        *lines.splitlines(),
        "# end of freehold lab shop",
    ]


def test_a_name_leads_to_the_lab_only_where_this_computer_says_so() -> None:
    assert leads_to("localhost", "127.0.0.1")
    assert not leads_to("localhost", "127.80.3.11")
    assert not leads_to("shop.invalid", "127.80.3.11")


def only(*programs: str) -> Callable[[str], Path | None]:
    return lambda name: Path("/usr/bin", name) if name in programs else None


def test_chromium_is_told_by_rules_and_firefox_by_its_profile(tmp_path: Path) -> None:
    machine, url = lab_state().machines[0], "http://shop.example.com:8080/"
    names = ("shop.example.com", "blog.example.com")
    found = browser(machine, names, url, tmp_path, only("chromium", "firefox"))
    assert found is not None
    rules = "MAP shop.example.com 127.80.3.11,MAP blog.example.com 127.80.3.11"
    assert found[:3] == (
        "/usr/bin/chromium",
        f"--host-resolver-rules={rules}",
        f"--user-data-dir={tmp_path}/chromium",
    )
    assert found[-1] == url
    found = browser(machine, names, url, tmp_path, only("firefox-esr"))
    assert found == ("/usr/bin/firefox-esr", "--no-remote", "--profile", f"{tmp_path}/firefox", url)
    told = (tmp_path / "firefox/user.js").read_text()
    assert 'user_pref("network.dns.forceResolve", "127.80.3.11");' in told
    assert browser(machine, names, url, tmp_path, only()) is None


@pytest.mark.parametrize("name", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_a_window_needs_a_desktop(name: str) -> None:
    assert desktop({"XAUTHORITY": "/x", "HOME": "/root"}) == {}
    assert desktop({name: ":0", "XAUTHORITY": "/x", "HOME": "/root"}) == {name: ":0", "XAUTHORITY": "/x"}
