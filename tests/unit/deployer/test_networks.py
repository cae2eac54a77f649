"""Networks of containers: the application's, further ones of `options`, and those that stand alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.commands import accessory as accessories
from deployer.commands import accessoryexec, docker, execute, jobs, networks
from deployer.config.shorthand import OptionValue
from tests.unit.deployer import samples

PROXY = {"host": "admin.test", "app_port": 3000}


@pytest.mark.parametrize(
    ("options", "own", "expected"),
    [
        ({}, "kamal", ["freehold"]),
        ({"network": "backend"}, "kamal", ["freehold", "backend"]),
        ({"network": ("a", "kamal", "b", "a")}, "kamal", ["freehold", "a", "b"]),
        ({"net": "a", "network": ""}, "kamal", ["freehold", "a"]),
        ({"network": "name=kamal,alias=web"}, "kamal", ["name=freehold,alias=web"]),
        ({"network": "name=a,alias=x,alias=y"}, "kamal", ["freehold", "name=a,alias=x,alias=y"]),
        ({"network": "host"}, "kamal", ["host"]),
        ({"network": "container:shop-db"}, "kamal", ["container:shop-db"]),
        ({"network": "none"}, "mine", ["none"]),
        ({}, "mine", ["mine"]),
        ({"network": "kamal"}, "mine", ["mine", "freehold"]),
        ({"network": "backend"}, "host", ["host"]),
    ],
)
def test_which_networks(options: dict[str, OptionValue], own: str, expected: list[str]) -> None:
    assert [network.text for network in networks.of(options, own)] == expected


def lines_of(shell: str) -> list[str]:
    return [line for line in shell.splitlines() if line.startswith("docker ")]


def test_a_container_in_more_than_one_network_is_connected_before_it_starts(tmp_path: Path) -> None:
    servers = {"web": {"hosts": ["web-1"], "options": {"network": ["backend", "name=logs,alias=shop"]}}}
    config = samples.config(tmp_path, servers=servers)
    role = config.role("web")
    shell = docker.start_fragment(config, role, "v1", "web-1", "own/shop:v1")
    samples.is_bash(shell)
    make, *more = lines_of(shell)
    assert make.startswith("docker create --pull never ") and make.count("--network") == 1
    # The proxy's address is that of the application's network.
    assert "--network freehold " in make and "--ip $address --label freehold.address=$address " in make
    assert more == [
        "docker network connect backend shop-web-v1",
        "docker network connect --alias shop logs shop-web-v1",
        "docker start shop-web-v1",
    ]
    manner = docker.manner(config, role, "v1", "web-1")
    told = [line for line in manner if line.startswith("--network")]
    assert told == ["--network freehold", "--network backend", "--network name=logs,alias=shop"]


def test_other_containers_of_a_role_are_in_its_networks_too(tmp_path: Path) -> None:
    servers = {"web": {"hosts": ["web-1"], "options": {"network": "backend"}}}
    tidy = {"tidy": {"schedule": "@daily", "cmd": "bin/tidy"}}
    config = samples.config(tmp_path, servers=servers, jobs=tidy)
    role = config.role("web")
    for detach, start in ((False, 'exec docker start --attach "$id"'), (True, 'exec docker start "$id"')):
        shell = execute.exec_new(config, role, "ls", version="v1", detach=detach)
        samples.is_bash(shell)
        assert 'docker network connect backend "$id"' in shell and shell.endswith(start)
        assert ("--rm" in shell) == (not detach) and "--detach" not in shell
    shell = execute.exec_new(config, role, "cat", version="v1", stdin=True)
    assert shell.endswith('exec docker start --attach --interactive "$id"')
    (job,) = config.jobs
    text = jobs.run_text(config, job, "v1")
    samples.is_bash(text)
    assert "docker network connect backend shop-web-job-tidy && docker start --attach " in text


@pytest.mark.parametrize(
    ("changes", "first", "connected"),
    [
        ({}, "freehold", []),
        ({"options": {"network": "backend"}}, "freehold", ["backend shop-admin"]),
        ({"options": {"network": "backend"}, "proxy": PROXY}, "freehold", ["backend shop-admin"]),
        ({"network": "mine"}, "mine", []),
        ({"network": "mine", "options": {"network": "kamal"}}, "mine", ["freehold shop-admin"]),
        ({"network": "mine", "proxy": PROXY}, "mine", ["--ip $address freehold shop-admin"]),
        (
            {"network": "mine", "proxy": PROXY, "options": {"network": ["name=kamal,alias=a", "b"]}},
            "mine",
            ["b shop-admin", "--ip $address --alias a freehold shop-admin"],
        ),
        ({"options": {"network": "host"}, "proxy": PROXY}, "host", []),
    ],
)
def test_networks_of_an_accessory(
    tmp_path: Path, changes: dict[str, object], first: str, connected: list[str]
) -> None:
    admin = {"image": "own/admin", "host": "web-1", **changes}
    config = samples.config(tmp_path, accessories={"admin": admin})
    item = config.accessory("admin")
    shell = accessories.start_step(config, item, "web-1").shell
    samples.is_bash(shell)
    lines = lines_of(shell)
    joins = [line for line in lines if line.startswith("docker network connect ")]
    assert f"--network {first} " in lines[0] and lines[0].count("--network") == 1
    assert [line.removeprefix("docker network connect ") for line in joins] == connected
    assert ("--ip $address" in lines[0]) == ("proxy" in changes and first == "freehold")
    # Containers of `accessory exec` are in the same.
    shell = accessoryexec.exec_new(item, "ls")
    samples.is_bash(shell)
    assert f"--network {first} " in shell
