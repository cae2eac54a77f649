"""Labs that libvirt's networks carry: where they go, what they are called, and how they are reached."""

import ipaddress
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from cloudinit.hostkeys import generate_host_key
from cloudinit.profile import parse_profile
from freehold.console import Console
from freehold.errors import LabError, UsageError
from freehold.process import LocalRunner
from lab import tunnel
from lab.guestlink import netem, slow, whole
from lab.hypervisors import check_same, wanted
from lab.lab import Lab
from lab.model import LabSpec, MachineSpec
from lab.natnet import apart, candidates, lan_name, lan_xml, management_xml, networks_at, records, routed
from lab.places import lab_dir
from lab.plan import Place, plan_state
from lab.report import ansible, urls
from lab.seeds import known_hosts, network
from lab.ssh import ssh_config
from lab.state import Hypervisor, LabState, save_state
from lab.topology import NetworkSpec
from tests.unit.lab.samples import lab_state

HERE = Hypervisor("here", "qemu:///system", "tcg", "198.19.7.0/24", Path("/pools/freehold-shop-abc123"))
BIG = replace(HERE, name="big", uri="qemu+ssh://ops@big:2200/system?keyfile=/k", subnet="198.19.8.0/24")
URIS = {"here": HERE.uri, "big": BIG.uri}
SPEC = LabSpec(
    "shop",
    (
        MachineSpec("web-1", host="web-1.example.com"),
        MachineSpec("db-1", host="203.0.113.9", hypervisor="big"),
    ),
    hypervisors=URIS,
)

PLAIN = LabSpec("shop", (MachineSpec("a"),))


def state(spec: LabSpec = SPEC) -> LabState:
    place = Place(
        directory=Path("/state/labs/shop"),
        runtime=Path("/run/x"),
        prefix="127.80.3",
        uri=HERE.uri,
        private=False,
        accelerator="tcg",
        image=Path("/image"),
        hypervisors=(HERE, BIG),
        token="abc123",
    )
    return plan_state(spec, place, {})


def test_a_machine_here_has_its_own_ports_and_one_elsewhere_is_forwarded() -> None:
    web, db = state().machines
    assert (web.address, web.ssh_port, web.http_port) == ("198.19.7.11", 22, 80)
    assert (db.address, db.ssh_port, db.management) == ("127.80.3.12", 2222, "198.19.8.12")
    words = tunnel.command(state(), BIG)
    assert words[:6] == ["ssh", "-i", "/k", "-p", "2200", "-l"]
    assert words[-1] == "big"
    assert "127.80.3.12:2222:198.19.8.12:22" in words
    assert not any("198.19.7." in word for word in words)


def test_ports_of_the_profiles_own_are_the_same_on_every_road() -> None:
    lab = state(replace(SPEC, profile=parse_profile("ssh: {port: 2200}\nproxy: {http_port: 8000}\n")))
    web, db = lab.machines
    assert (web.address, web.ssh_port, web.http_port, web.https_port) == ("198.19.7.11", 2200, 8000, 443)
    assert (db.ssh_port, db.http_port) == (2222, 8080)
    words = tunnel.command(lab, BIG)
    assert "127.80.3.12:2222:198.19.8.12:2200" in words
    assert "127.80.3.12:8080:198.19.8.12:8000" in words
    alias = "[198.19.7.11]:2200"
    assert f"    Port 2200\n    User deploy\n    HostKeyAlias {alias}\n" in ssh_config(lab)
    assert known_hosts([(web, generate_host_key())]).startswith(f"{alias} ")
    assert ansible(lab)["all"]["hosts"]["web-1"]["ansible_port"] == 2200
    assert urls(lab)["web-1"] == ("http://198.19.7.11:8000/", "https://198.19.7.11:443/")


def test_a_hypervisor_that_does_not_answer_is_told_with_sshs_own_words(tmp_path: Path) -> None:
    nobody = replace(BIG, uri="qemu+ssh://127.0.0.1:1/system")
    lab = replace(state(), runtime=tmp_path, hypervisors=(HERE, nobody))
    with pytest.raises(LabError, match="no tunnel to") as caught:
        tunnel.ensure(lab, LocalRunner())
    assert any("Connection refused" in line for line in caught.value.details)
    tunnel.end(tmp_path)
    assert list(tmp_path.iterdir()) == []


SSH = """\
#!/bin/sh
# In the place of ssh: a tunnel is a process with a socket, everything else is its words.
case " $* " in
*" -O check "*) exit 0 ;;
*" -M "*)
    while [ "$1" != -S ]; do shift; done
    : > "$2"
    while :; do sleep 0.1; done ;;
*) echo "asked for: $*" ;;
esac
"""


def test_every_road_to_a_machine_starts_its_tunnel_again_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_STATE", str(tmp_path / "state"))
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    big = replace(BIG, uri=f"qemu+ssh://big/system?command={program}")
    silent = replace(BIG, name="silent", uri="qemu+ssh://127.0.0.1:1/system?command=false")
    web, db = state().machines
    made = replace(
        state(),
        directory=lab_dir("shop"),
        runtime=tmp_path / "run",
        hypervisors=(HERE, big, silent),
        machines=(web, db, replace(db, name="job-1", host="job-1", hypervisor="silent")),
    )
    save_state(made)
    lab = Lab("shop", runner=LocalRunner(), console=Console())
    socket = tunnel.control(made, big)
    try:
        lab.exec("web-1", ["true"])
        assert not tunnel.folder(made.runtime).exists()
        for _ in range(2):
            assert "asked for" in lab.exec("db-1", ["true"]).stdout
            assert socket.exists()
            tunnel.end(made.runtime)
        with pytest.raises(LabError, match="no tunnel to"):
            lab.reached("job-1")
    finally:
        tunnel.end(made.runtime)


def test_a_uri_that_takes_any_host_key_is_refused() -> None:
    with pytest.raises(UsageError, match="any host key"):
        tunnel.ssh_words("qemu+ssh://big/system?no_verify=1")


def test_no_network_is_tried_that_the_hypervisor_uses() -> None:
    every = list(candidates("shop", "", ()))
    assert len(set(every)) == 256
    assert list(candidates("shop", "", ())) == every
    taken = [every[0].replace(".0/24", ".200/32"), "198.19.0.0/17"]
    for subnet in candidates("shop", "", taken):
        assert not any(ipaddress.ip_network(item).overlaps(ipaddress.ip_network(subnet)) for item in taken)
    assert list(candidates("shop", "", ["198.18.0.0/15"])) == []


def test_networks_of_a_computer_are_its_routes_and_addresses() -> None:
    routes = json.dumps([{"dst": "default"}, {"dst": "198.19.4.0/24"}, {"dst": "192.0.2.7"}])
    addresses = json.dumps([{"addr_info": [{"local": "198.19.9.1", "prefixlen": 24}]}, {}])
    assert routed(routes, addresses) == ("198.19.4.0/24", "192.0.2.7/32", "198.19.9.0/24")
    assert routed("", "") == ()


@pytest.mark.needs("virt-xml-validate")
@pytest.mark.parametrize("internet", [True, False])
def test_libvirts_schema_accepts_the_networks(internet: bool, tmp_path: Path) -> None:
    lab = replace(state(NETS), internet=internet)
    between = [lan_xml(lab, group, name) for group in (0, 2) for name in ("lan", "back")]
    for xml in (management_xml(lab, "198.19.7.0/24"), *between):
        path = tmp_path / "network.xml"
        path.write_text(xml)
        done = subprocess.run(
            ["virt-xml-validate", path, "network"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_lab_without_internet_has_no_way_out_of_its_network() -> None:
    assert ET.fromstring(management_xml(state(), "198.19.7.0/24")).find("forward") is None
    open_ = ET.fromstring(management_xml(replace(state(), internet=True), "198.19.7.0/24"))
    assert open_.find("forward[@mode='nat']") is not None
    assert ET.fromstring(lan_xml(state())).find("ip") is None


def test_names_and_addresses_are_those_of_the_machines_there() -> None:
    leases, names = records(state(), HERE)
    web = state().machine("web-1")
    assert leases == {web.management_mac: "198.19.7.11"}
    assert names == {"198.18.0.11": ["web-1", "web-1.example.com"]}
    assert records(state(), BIG)[1] == {"198.18.0.12": ["db-1"]}


def test_the_seed_asks_for_the_management_address() -> None:
    cards = network(state(), state().machine("web-1")).v2()["ethernets"]
    assert cards["eth0"]["dhcp4"] is True
    assert cards["eth1"]["addresses"] == ["198.18.0.11/24"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, {}),
        ({"uri": "qemu:///session"}, {}),
        ({"uri": "qemu:///system"}, {"": "qemu:///system"}),
        ({"uri": "qemu:///system", "network": "user"}, {}),
        ({"network": "nat"}, {"": "qemu:///system"}),
        ({"hypervisors": URIS}, URIS),
    ],
)
def test_who_carries_a_lab(asked: dict[str, Any], found: dict[str, str]) -> None:
    assert wanted(replace(PLAIN, **asked)) == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"uri": "qemu:///session", "network": "nat"}, "has no networks"),
        ({"uri": "qemu+ssh://big/system", "network": "user"}, "this computer alone"),
        ({"uri": "qemu:///system", "hypervisors": URIS}, "exclude each other"),
        ({"hypervisors": {"a": "qemu:///system", "b": "qemu:///system"}}, "the same libvirt"),
    ],
)
def test_what_cannot_carry_a_lab_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        wanted(replace(PLAIN, **asked))


def test_a_machine_on_a_hypervisor_that_nobody_named_is_refused() -> None:
    with pytest.raises(UsageError, match="no hypervisor 'far'") as caught:
        LabSpec("shop", (MachineSpec("a", hypervisor="far"),), hypervisors=URIS)
    assert "here, big" in caught.value.hint


def test_a_lab_that_is_up_does_not_move() -> None:
    check_same(SPEC, state())
    with pytest.raises(UsageError, match="runs on qemu:///system"):
        check_same(replace(SPEC, machines=SPEC.machines[:1], hypervisors={}, uri="qemu:///system"), state())
    moved = replace(SPEC, machines=(replace(SPEC.machines[0], hypervisor="big"),))
    with pytest.raises(UsageError, match="runs on here, not on big"):
        check_same(moved, state())


def test_networks_of_groups_are_told_from_the_networks_of_all() -> None:
    made = state(NETS)
    whole = [lan_name(made), *(lan_name(made, network=name) for name in ("back", "front-2"))]
    groups = [lan_name(made, 1), lan_name(made, 12, "back"), lan_name(made, 1, "front-2")]
    others = [f"{lan_name(replace(made, token='fffff0'))}-2", "freehold-shop-abc123"]
    assert apart(made, [*whole, *groups, *others]) == tuple(groups)


def test_a_lab_that_carries_itself_does_not_move_to_another_libvirt() -> None:
    own = lab_state()
    check_same(PLAIN, own)
    check_same(replace(PLAIN, uri=own.uri), own)
    with pytest.raises(UsageError, match="runs on a libvirt of its own"):
        check_same(replace(PLAIN, uri="qemu:///session"), replace(own, uri="qemu+unix:///session?socket=/x"))
    with pytest.raises(UsageError, match="runs on qemu:///session"):
        check_same(replace(PLAIN, uri="qemu+unix:///session?socket=/x"), replace(own, private=False))


NETS = replace(
    SPEC,
    machines=(
        replace(SPEC.machines[0], networks={"lan": "", "back": ""}),
        MachineSpec("web-2", networks={"back": "10.2.0.5"}),
        SPEC.machines[1],
    ),
    networks=(NetworkSpec("back", "10.2.0.0/24"), NetworkSpec("front")),
)


def test_further_networks_are_libvirts_where_their_machines_are() -> None:
    lab = state(NETS)
    assert networks_at(lab, HERE) == ("lan", "back")
    assert networks_at(lab, BIG) == ("lan",)
    made = {
        lan_name(lab, group, name): lan_xml(lab, group, name) for group in (0, 2) for name in ("lan", "back")
    }
    assert sorted(made) == [
        "freehold-shop-abc123-lan",
        "freehold-shop-abc123-lan-3",
        "freehold-shop-abc123-net-back",
        "freehold-shop-abc123-net-back.3",
    ]
    bridges = [ET.fromstring(xml).find("bridge") for xml in made.values()]
    names = [str(bridge.get("name")) for bridge in bridges if bridge is not None]
    assert len(set(names)) == 4
    assert max(map(len, names)) <= 15
    assert records(lab, HERE)[1] == {"198.18.0.11": ["web-1", "web-1.example.com"]}


def test_isolated_beside_internet_needs_the_labs_own_networks() -> None:
    asked = replace(PLAIN, internet=True, networks=(NetworkSpec("back", isolated=True),))
    assert wanted(replace(asked, uri="qemu:///system", network="user")) == {}
    assert wanted(asked) == {}
    for carried in (replace(asked, uri="qemu:///system"), replace(asked, network="nat")):
        with pytest.raises(UsageError, match="back is isolated") as caught:
            wanted(carried)
        assert "network: user" in caught.value.hint
    assert wanted(replace(asked, uri="qemu:///system", internet=False)) == {"": "qemu:///system"}


def test_a_bad_link_is_bad_in_both_directions_and_made_whole() -> None:
    assert netem(0.05, 0.01, 0.02, 1e7) == "netem limit 20000 delay 50000us 10000us loss 2% rate 10000000bit"
    script = slow(["eth1", "net-back"], 0.5, 0, 0, 0)
    assert script.startswith(whole(["eth1", "net-back"]))
    assert script.count("netem limit 20000 delay 500000us") == 4
    assert "tc qdisc add dev net-back root netem" in script
    assert slow(["eth1"], 0, 0, 0, 0) == whole(["eth1"])
