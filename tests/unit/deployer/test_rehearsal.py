"""The lab of a deploy file: any service has one, and every command means the same."""

from pathlib import Path

import pytest

from cloudinit.parts.firewall import rules
from cloudinit.profile import HostProfile
from deployer.rehearsal import lab_name, lab_spec, rehearsed
from lab.address import SOURCES
from lab.model import GuestPorts
from tests.unit.deployer.samples import config as sample

LONG = "s" * 60


def with_profile(root: Path, text: str) -> None:
    (root / "config").mkdir()
    (root / "config/host.yml").write_text(text)


@pytest.mark.parametrize(
    ("service", "name"),
    [("my_app", "my-app"), ("MyApp", "myapp"), ("_shop_", "shop"), ("shop", "shop")],
)
def test_any_service_names_a_lab(tmp_path: Path, service: str, name: str) -> None:
    config = sample(tmp_path, service=service)
    assert lab_spec(config, tmp_path).name == lab_name(config, tmp_path) == name


def test_long_services_have_labs_of_their_own(tmp_path: Path) -> None:
    names = {lab_name(sample(tmp_path, service=LONG + end), tmp_path) for end in ("a", "b")}
    assert len(names) == 2
    assert {len(name) for name in names} == {40}


def test_machines_have_the_ports_of_their_hosts(tmp_path: Path) -> None:
    """What `proxy.run` says counts for the hosts of that role alone."""
    with_profile(tmp_path, "ssh: {port: 2200}\nproxy: {https_port: 8001}\n")
    proxy = {"host": "shop.test", "run": {"http_port": 8000}}
    config = sample(
        tmp_path,
        servers={"web": {"hosts": ["web-1"], "proxy": proxy}, "jobs": {"hosts": ["jobs-1"]}},
        proxy=None,
    )
    web, jobs = lab_spec(config, tmp_path).machines
    assert web.guest == GuestPorts(2200, 8000, 443)
    assert jobs.guest == GuestPorts(2200, 80, 8001)


def test_machines_let_this_computer_in_where_ssh_is_open_to_some_networks_only(tmp_path: Path) -> None:
    with_profile(tmp_path, "ssh: {port: 2200, allow: [203.0.113.0/24]}\n")
    profile = lab_spec(sample(tmp_path), tmp_path).profile
    assert profile is not None
    doors = [line.strip() for line in rules(profile).splitlines() if "dport 2200" in line]
    assert doors == [
        f"ip saddr {network} tcp dport 2200 accept"
        for network in ("203.0.113.0/24", "198.18.1.0/24", "198.19.0.0/16")
    ]
    # What `--lab` asks of a machine later is what its image was made of.
    assert profile.admitting(*SOURCES) == profile


def test_ssh_that_is_open_to_everybody_stays_so(tmp_path: Path) -> None:
    assert rehearsed(HostProfile(), sample(tmp_path)).ssh == HostProfile().ssh
