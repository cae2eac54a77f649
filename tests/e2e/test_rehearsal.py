"""Production rehearsed: the operator's commands with `--lab` against machines that mirror its hosts.

The tests tell one story, in their order; the lab is the one that all end-to-end tests share.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer.load.generator import Load
from deployer.load.plan import LoadPlan, Target, parse_target
from lab.faults import Faults
from lab.lab import Lab
from tests.e2e.production import Production

SITE = "shop.example.com"
# An emulated machine that starts a container may take its time; lost is what never comes.
PATIENCE = 90.0
WEB = ("web-1", "web-2")


def target(lab: Lab, name: str) -> Target:
    machine = lab.state.machine(name)
    return parse_target(f"http://{machine.address}:{machine.http_port}", name=machine.name, host=SITE)


def serving(where: Target) -> str:
    """The version that a host serves."""
    connection = http.client.HTTPConnection(where.address, where.port, timeout=PATIENCE)
    connection.request("GET", "/", headers={"Host": SITE})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.headers["X-Version"]


@contextmanager
def unharmed(lab: Lab, names: Sequence[str], versions: set[str]) -> Iterator[None]:
    """Requests to these hosts all the while; none may fail, and these versions have to be seen."""
    targets = [target(lab, name) for name in names]
    with Load(LoadPlan(targets=targets, rate=2.0, timeout=PATIENCE)) as load:
        yield
        report = load.stop()
    assert report.failed == 0, report.failures
    assert report.served > 10
    assert set(report.versions) == versions


@pytest.fixture(scope="session")
def deployed(lab: Lab, production: Production) -> Production:
    """Version 1 on every host."""
    production.freehold("image", "base", "hello-base", "--packages", "python3")
    production.freehold("setup", "--lab")
    assert [serving(target(lab, name)) for name in WEB] == ["v1", "v1"]
    return production


def test_a_new_version_and_back_again_without_a_failed_request(lab: Lab, deployed: Production) -> None:
    with unharmed(lab, WEB, {"v1", "v2"}):
        deployed.commit("v2")
        deployed.freehold("deploy", "--lab")
        assert [serving(target(lab, name)) for name in WEB] == ["v2", "v2"]
        deployed.freehold("rollback", "--lab")
    assert [serving(target(lab, name)) for name in WEB] == ["v1", "v1"]


def test_a_host_that_is_cut_off_keeps_the_fleet_on_the_old_version(
    lab: Lab, lab_faults: Faults, deployed: Production
) -> None:
    with unharmed(lab, ["web-1"], {"v1"}):
        lab_faults.cut("203.0.113.7")
        said = deployed.freehold("deploy", "--lab", expect=1)
        assert "203.0.113.7" in said
    assert serving(target(lab, "web-1")) == "v1"
    lab_faults.heal()
    assert serving(target(lab, "web-2")) == "v1"


def test_after_the_cable_is_back_the_deploy_goes_through(
    lab: Lab, lab_hosts: Mapping[str, Any], deployed: Production
) -> None:
    with unharmed(lab, WEB, {"v1", "v2"}):
        deployed.freehold("deploy", "--lab")
        assert [serving(target(lab, name)) for name in WEB] == ["v2", "v2"]
    jobs = lab_hosts["203.0.113.8"].check_output("docker ps --filter label=role=job --format '{{.Image}}'")
    assert len(jobs.split()) == 1


# In place of a desktop's browsers: they write down how they were started.
BROWSER = """\
#!/bin/sh
cd "${0%/*}"
printf '%s\n' "${0##*/}" "$DISPLAY" "$@" > started.new
mv started.new started
"""


def test_a_desktops_browser_is_sent_to_what_was_deployed(
    lab: Lab, deployed: Production, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    for name in ("chromium", "xdg-open"):
        (tmp_path / name).write_text(BROWSER)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":198")

    def opened(machine: str) -> list[str]:
        started.unlink(missing_ok=True)
        said = deployed.freehold("lab", "open", machine)
        deadline = time.monotonic() + 180
        while not started.exists():
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        return started.read_text().splitlines()

    machine = lab.state.machine("web-2")
    program, display, *words, url = opened("203.0.113.7")
    assert (program, display, url) == ("chromium", ":198", f"http://{SITE}:{machine.http_port}/")
    assert f"--host-resolver-rules=MAP {SITE} {machine.address}" in words
    profile = next(Path(word.partition("=")[2]) for word in words if word.startswith("--user-data-dir="))
    assert profile.is_dir()
    assert lab.state.directory in profile.parents
    # What has no name needs no browser that is told of one.
    idle = lab.state.machine("job-1")
    assert opened("job-1") == ["xdg-open", ":198", f"http://{idle.address}:{idle.http_port}/"]


# The same lab by another deploy file, of which the third machine is no server: it has an accessory alone.
STORE = """\
service: shop
image: freehold/shop
servers:
  - web-1.example.com
proxy:
  ssl: false
  host: shop.example.com
ssh:
  user: deploy
accessories:
  store:
    image: hello-base
    host: 203.0.113.8
    cmd: python3 -m http.server 5432
    port: "5432:5432"
"""


def test_an_accessory_on_a_host_of_its_own_is_reached_by_the_address_of_production(
    lab: Lab, deployed: Production
) -> None:
    file = deployed.root / "config" / "store.yml"
    file.write_text(STORE)
    try:
        deployed.freehold("accessory", "boot", "store", "--lab", "-c", "config/store.yml")
        ask = ["curl", "-s", "-m", "60", "--retry", "20", "--retry-delay", "2", "--retry-all-errors"]
        ask += [
            "--retry-max-time",
            "200",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://203.0.113.8:5432/",
        ]
        assert lab.exec("web-1", ask, check=False).stdout.endswith("200")
        containers = lab.exec("job-1", ["docker", "ps", "--format", "{{.Names}}"]).stdout.split()
        assert "shop-store" in containers
        deployed.freehold("accessory", "remove", "store", "--lab", "-y", "-c", "config/store.yml")
    finally:
        file.unlink()
