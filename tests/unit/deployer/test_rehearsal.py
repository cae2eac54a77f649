"""The lab of a deploy file: any service has one, and every command means the same."""

from pathlib import Path

import pytest

from cloudinit.hostkeys import generate_host_key
from cloudinit.keys import parse_public_key
from cloudinit.parts.firewall import rules
from cloudinit.parts.listeners import listening, socket_unit
from cloudinit.profile import HostProfile
from deployer.commands.hostproxy import run_of, words
from deployer.hostprofile import running_as
from deployer.rehearsal import bound, everywhere, lab_name, lab_profile, lab_spec, rehearsed
from lab.address import SOURCES
from lab.model import GuestPorts
from lab.plan import plan_state
from lab.seeds import network, seed_files
from tests.unit.deployer.samples import config as sample
from tests.unit.lab.samples import PLACE

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


def test_proxies_listen_on_every_address_of_a_machine(tmp_path: Path) -> None:
    """Those of production are not there, and nobody would be told: systemd listens on them all the same."""
    with_profile(tmp_path, "proxy: {bind_ips: [203.0.113.7]}\n")
    run = {"http_port": 8000, "bind_ips": ["203.0.113.7", "2001:db8::7"]}
    theirs = {
        "image": "registry",
        "host": "db-1",
        "proxy": {"host": "r.test", "run": {"bind_ips": ["203.0.113.9"]}},
    }
    config = sample(tmp_path, proxy={"host": "shop.test", "run": run}, accessories={"registry": theirs})
    assert bound(config) == ("203.0.113.7", "2001:db8::7", "203.0.113.9")
    machines = everywhere(config)
    assert bound(machines) == ()
    profile = rehearsed(lab_profile(tmp_path), machines)
    assert profile.proxy.bind_ips == ()
    for host, port in (("web-1", "8000"), ("db-1", "80")):
        proxy = running_as(profile, machines, host).proxy
        assert f"ListenStream={port}\n" in socket_unit(proxy)
        # What a deploy compares is what the machine's Caddyfile says.
        wanted = run_of(machines, host)
        assert wanted is not None
        assert [*words(wanted), "log=10m"] == listening(proxy).split()
    assert lab_spec(config, tmp_path).machines[0].guest == GuestPorts(22, 8000, 443)


def test_an_accessorys_own_host_is_a_machine_that_the_others_know(tmp_path: Path) -> None:
    accessories = {
        "db": {"image": "postgres", "host": "10.0.0.9"},
        "cache": {"image": "redis", "host": "cache.test"},
    }
    spec = lab_spec(sample(tmp_path, accessories=accessories), tmp_path)
    assert [(item.name, item.host, item.roles) for item in spec.machines] == [
        ("web-1", "web-1", ("web",)),
        ("web-2", "web-2", ("web", "jobs")),
        ("db-1", "10.0.0.9", ("db",)),
        ("cache", "cache.test", ("cache",)),
    ]
    state = plan_state(spec, PLACE, {})
    web, db = state.machine("web-1"), state.machine("10.0.0.9")
    assert "10.0.0.9/32" in network(state, db).v2()["ethernets"]["eth1"]["addresses"]
    assert {"to": "10.0.0.9/32", "via": db.lan} in network(state, web).v2()["ethernets"]["eth1"]["routes"]
    key = generate_host_key()
    seed = seed_files(state, web, host_key=key, user_key=parse_public_key(key.public)).vendor_data
    assert f"{state.machine('cache').lan} cache.test" in " ".join(seed.split())
