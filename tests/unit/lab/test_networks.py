"""Further networks between machines: who is on which, with which address, and what cannot be had."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from cloudinit.hostkeys import generate_host_key
from cloudinit.keys import parse_public_key
from freehold.errors import ConfigError, UsageError
from lab.faultcli import meant
from lab.faults import cards
from lab.labfile import parse_lab_file
from lab.mirror import from_file, mirror
from lab.model import LabSpec, MachineSpec
from lab.networks import NetworkState, planned
from lab.plan import plan_state
from lab.report import inventory, machine_object, plan, plan_rows
from lab.seeds import network, seed_files
from lab.state import LabState, load_state, save_state
from lab.topology import LAN, NetworkSpec
from tests.unit.lab.samples import PLACE, lab_state

FILE = """\
internet: true
networks:
  front: {}
  back: {subnet: 10.20.0.0/24, isolated: true}
machines:
  proxy-1: {networks: [front, lan]}
  web-1: {networks: {front: , back: 10.20.0.5}}
  web-2: {networks: [back, front]}
  db-1: {networks: [back]}
  old-1: {}
"""


def spec(text: str = FILE) -> LabSpec:
    return from_file(parse_lab_file(text), "shop")


def state(text: str = FILE) -> LabState:
    return lab_state(spec=spec(text))


def addresses(lab: LabState, machine: str) -> dict[str, str]:
    return {plug.network: plug.address for plug in lab.machine(machine).cards}


def test_a_machine_is_on_the_networks_that_it_names_and_on_lan_without() -> None:
    lab = state()
    front = next(item.subnet for item in lab.networks if item.name == "front")
    stem = front.rpartition(".")[0]
    assert front.startswith("198.18.")
    assert addresses(lab, "proxy-1") == {"front": f"{stem}.11", "lan": "198.18.0.11"}
    assert addresses(lab, "web-1") == {"front": f"{stem}.12", "back": "10.20.0.5"}
    assert addresses(lab, "db-1") == {"back": "10.20.0.14"}
    assert addresses(lab, "old-1") == {"lan": "198.18.0.15"}
    assert (lab.machine("db-1").lan, lab.machine("old-1").lan) == ("", "198.18.0.15")


def test_two_labs_choose_subnets_and_hardware_addresses_of_their_own() -> None:
    wanted = (NetworkSpec("front"), NetworkSpec("back"))
    one, other = (planned(name, wanted, ()) for name in ("shop", "site"))
    assert len({item.subnet for item in one}) == 2
    assert [item.subnet for item in one] != [item.subnet for item in other]
    macs = [plug.mac for machine in state().machines for plug in machine.cards]
    assert len(set(macs)) == len(macs)


def test_a_network_without_a_subnet_gets_one_that_is_free() -> None:
    chosen = planned("shop", (NetworkSpec("front"),), ())[0].subnet
    said = planned("shop", (NetworkSpec("front"), NetworkSpec("back", chosen)), ())
    assert [item.subnet for item in said][1] == chosen
    assert said[0].subnet != chosen


def test_an_address_that_is_said_is_nobody_elses() -> None:
    text = FILE.replace("back: 10.20.0.5", "back: 10.20.0.14")
    assert addresses(state(text), "web-1")["back"] == "10.20.0.14"
    assert addresses(state(text), "db-1")["back"] == "10.20.0.2"


def test_a_host_keeps_its_own_address_where_the_subnet_has_it() -> None:
    file = parse_lab_file("networks: {back: {subnet: 203.0.113.0/24}}\nmachines: {web-1: {networks: [back]}}")
    hosts = [("203.0.113.7", ["web"]), ("203.0.113.8", ["web"])]
    lab = lab_state(spec=mirror("shop", hosts, file=file))
    assert addresses(lab, "web-1") == {"back": "203.0.113.7"}
    # The other is on lan alone, so neither can reach the other: no route that leads nowhere.
    cards = network(lab, lab.machine("web-1")).v2()["ethernets"]
    assert cards["net-back"]["addresses"] == ["203.0.113.7/24"]
    assert "routes" not in cards["net-back"]
    both = replace(file, machines={"web-1": file.machines["web-1"], "web-2": file.machines["web-1"]})
    lab = lab_state(spec=mirror("shop", hosts, file=both))
    cards = network(lab, lab.machine("web-2")).v2()["ethernets"]
    assert cards["net-back"]["addresses"] == ["203.0.113.8/24"]
    assert "routes" not in cards["net-back"]


def test_a_second_plan_changes_nothing_and_newcomers_take_what_is_free() -> None:
    first = state()
    known = {machine.name: machine for machine in first.machines}
    assert plan_state(spec(), replace(PLACE, directory=first.directory), known, first.networks) == replace(
        first, runtime=PLACE.runtime, image=PLACE.image
    )
    more = spec(FILE + "  db-2: {networks: [back]}\n")
    second = plan_state(more, PLACE, known, first.networks)
    assert addresses(second, "db-1") == addresses(first, "db-1")
    assert addresses(second, "db-2") == {"back": "10.20.0.16"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("db-1: {networks: [back]}", "db-1: {networks: [front]}", "db-1 is on back"),
        ("db-1: {networks: [back]}", "db-1: {networks: {back: 10.20.0.9}}", "db-1 is on back"),
        ("10.20.0.0/24, isolated: true", "10.20.0.0/24", "the network back of the lab shop is 10.20.0.0/24"),
        ("front: {}", "front: {subnet: 10.21.0.0/24}", "the network front of the lab shop is 198.18."),
    ],
)
def test_networks_of_a_lab_that_is_up_stay_as_they_are(before: str, after: str, said: str) -> None:
    first = state()
    known = {machine.name: machine for machine in first.machines}
    assert before in FILE
    with pytest.raises(UsageError, match=said) as caught:
        plan_state(spec(FILE.replace(before, after)), PLACE, known, first.networks)
    assert "lab down" in caught.value.hint


def test_names_lead_to_the_first_network_in_common_and_nowhere_without_one() -> None:
    lab = state()
    key, user_key = generate_host_key(), parse_public_key(generate_host_key().public)

    def names(machine: str) -> dict[str, str]:
        files = seed_files(lab, lab.machine(machine), host_key=key, user_key=user_key)
        written = yaml.safe_load(files.vendor_data)["write_files"]
        content = next(item["content"] for item in written if item["path"] == "/etc/hosts")
        return {line.split()[1]: line.split()[0] for line in content.splitlines() if line.strip()}

    web = names("web-1")
    assert web["proxy-1"] == addresses(lab, "proxy-1")["front"]
    assert web["db-1"] == addresses(lab, "db-1")["back"]
    assert "old-1" not in web
    # Both are on both: each has its own first.
    assert web["web-2"] == addresses(lab, "web-2")["front"]
    assert names("web-2")["web-1"] == "10.20.0.5"


def test_each_card_is_named_after_its_network_and_found_by_its_hardware_address() -> None:
    lab = state()
    found = network(lab, lab.machine("web-1")).v2()["ethernets"]
    assert list(found) == ["eth0", "net-front", "net-back"]
    plug = lab.machine("web-1").cards[1]
    assert found["net-back"]["match"] == {"macaddress": plug.mac}
    assert found["net-back"]["addresses"] == ["10.20.0.5/24"]


def test_a_machine_on_isolated_networks_alone_has_no_way_out() -> None:
    lab = state()
    ways = {machine.name: lab.way_out(machine) for machine in lab.machines}
    assert ways == {"proxy-1": True, "web-1": True, "web-2": True, "db-1": False, "old-1": True}
    assert "routes" not in network(lab, lab.machine("db-1")).v2()["ethernets"]["eth0"]
    closed = replace(lab, internet=False)
    assert not any(closed.way_out(machine) for machine in closed.machines)


def test_the_state_is_read_back_and_one_from_before_is_on_lan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_STATE", str(tmp_path))
    lab = lab_state(tmp_path, spec=spec())
    lab.directory.mkdir(parents=True)
    save_state(lab)
    assert load_state("shop") == lab
    old = asdict(lab_state(tmp_path))
    for machine in old["machines"]:
        del machine["plugs"]
    del old["networks"]
    (lab.directory / "lab.json").write_text(json.dumps({"format": 1, **old}, default=str))
    found = load_state("shop")
    assert [plug.address for plug in found.machines[0].cards] == ["198.18.0.11"]
    assert found.machines[0].cards[0].mac == found.machines[0].lan_mac


def test_programs_are_told_the_networks_and_the_plan_says_them_before() -> None:
    lab = state()
    assert inventory(lab)["networks"][1] == {"name": "back", "subnet": "10.20.0.0/24", "isolated": True}
    told = machine_object(lab.machine("web-1"))
    assert (told["lan"], told["networks"]) == ("", addresses(lab, "web-1"))
    before = plan(spec(), "tcg")
    assert before["networks"] == inventory(lab)["networks"]
    assert [item["networks"] for item in before["machines"]] == [
        addresses(lab, machine.name) for machine in lab.machines
    ]
    assert plan_rows(before)[3][3] == "back 10.20.0.14"


def test_a_fault_means_all_cards_or_the_one_of_a_network() -> None:
    web = state().machine("web-1")
    assert [plug.network for plug in cards(web, "")] == ["front", "back"]
    assert [plug.port("web-1") for plug in cards(web, "back")] == ["web-1.back"]
    with pytest.raises(UsageError, match="web-1 is not on a network 'lan'") as caught:
        cards(web, LAN)
    assert caught.value.hint == "it is on front, back"


def test_one_network_is_none_of_the_cables_to_this_computer() -> None:
    assert meant("both", "") == {"lan": True, "management": True, "network": ""}
    assert meant("both", "back") == {"lan": True, "management": False, "network": "back"}
    with pytest.raises(UsageError, match="between the machines"):
        meant("management", "back")


NETS = "networks: {back: {subnet: 10.2.0.0/24}}\n"


@pytest.mark.parametrize(
    ("text", "line", "key", "words", "hint"),
    [
        ("machines:\n a: {networks: [bck]}", 2, "machines.a.networks", "no network 'bck'", "describe it"),
        (
            NETS + "machines:\n a: {networks: [bck]}",
            3,
            "machines.a.networks",
            "no network 'bck'",
            "back, lan",
        ),
        (NETS + "machines:\n a: {networks: [back, back]}", 3, "machines.a.networks", "named twice", ""),
        (NETS + "machines:\n a: {networks: []}", 3, "machines.a.networks", "on no network", "[lan]"),
        (NETS + "machines:\n a: {networks: back}", 3, "machines.a.networks", "expected the networks", "[lan"),
        (NETS + "machines:\n a: {networks: {back: 10.3.0.5}}", 3, "networks.back", "not in 10.2.0.0/24", ""),
        (NETS + "machines:\n a: {networks: {back: 10.2.0.0}}", 3, "networks.back", "not a host's", ""),
        (
            NETS + "machines:\n a: {networks: {back: web}}",
            3,
            "networks.back",
            "'web' is no IPv4",
            "10.20.0.5",
        ),
        (NETS + "machines:\n a: {networks: {lan: 198.18.0.9}}", 3, "networks.lan", "follows from", "further"),
        (
            NETS + "machines:\n a: {networks: {back: 10.2.0.5}}\n b: {networks: {back: 10.2.0.5}}",
            4,
            "machines.b.networks.back",
            "a has 10.2.0.5 in back already",
            "",
        ),
        (
            "networks: {back: {}}\nmachines:\n a: {networks: {back: 10.2.0.5}}",
            3,
            "machines.a.networks.back",
            "no subnet that 10.2.0.5",
            "`subnet:`",
        ),
        ("networks:\n lan: {}", 2, "networks.lan", "every lab's own", "otherwise"),
        ("networks:\n far_away: {}", 2, "networks.far_away", "no name for a network", "at most 11"),
        ("networks:\n a: {subnet: 10.2.0.1/24}", 2, "networks.a.subnet", "no IPv4 subnet", "10.20.0.0/24"),
        ("networks:\n a: {subnet: fd00::/64}", 2, "networks.a.subnet", "no IPv4 subnet", "10.20.0.0/24"),
        ("networks:\n a: {subnet: 10.2.0.0/30}", 2, "networks.a.subnet", "no sensible size", "/29"),
        ("networks:\n a: {subnet: 198.18.1.0/24}", 2, "networks.a.subnet", "overlaps 198.18.0.0/23", ""),
        (
            NETS.replace("}}", "}, c: {subnet: 10.2.0.128/25}}"),
            1,
            "networks.c.subnet",
            "10.2.0.0/24 of back",
            "",
        ),
        (
            "networks: {" + "".join(f"n{n}: , " for n in range(9)) + "}",
            1,
            "networks",
            "too many",
            "at most 8",
        ),
        ("networks: {a: {subnets: 10.2.0.0/24}}", 1, "networks.a", "unknown key 'subnets'", "'subnet'"),
        (
            "hypervisors: {here: qemu:///system, far: qemu+ssh://big/system}\nnetworks: {back: }\n"
            "machines:\n a: {networks: [back]}\n b: {networks: [back], hypervisor: far}",
            5,
            "machines.b.networks",
            "back would lead from a on here to b on far",
            "on one",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_its_line(text: str, line: int, key: str, words: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lab_file(text)
    error = caught.value
    assert words in error.message
    assert error.where is not None
    assert (error.where.file, error.where.line) == ("config/lab.yml", line)
    assert key in error.where.key
    assert hint in error.hint


def test_a_lab_made_in_python_is_checked_too() -> None:
    with pytest.raises(UsageError, match=r"machines.a.networks.back: there is no network 'back'"):
        LabSpec("shop", (MachineSpec("a", networks={"back": ""}),))


def test_a_network_that_is_full_says_so() -> None:
    many = tuple(MachineSpec(f"a-{number}", networks={"back": ""}) for number in range(6))
    with pytest.raises(UsageError, match="the network back of the lab shop is full"):
        lab_state(spec=LabSpec("shop", many, networks=(NetworkSpec("back", "10.2.0.0/29"),)))


def test_too_many_networks_over_time_are_refused() -> None:
    had = tuple(NetworkState(f"n{number}", number, f"10.{number}.0.0/24") for number in range(12))
    with pytest.raises(UsageError, match="has had 12 further networks"):
        planned("shop", (NetworkSpec("new"),), had)
