"""Addresses follow from names, stay, and do not collide."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from lab.address import addresses, loopback_prefix, mac, numbering
from lab.model import LabSpec, MachineSpec

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)


@given(NAMES)
def test_a_lab_has_the_same_loopback_prefix_every_time(name: str) -> None:
    prefix = loopback_prefix(name, ())
    assert prefix == loopback_prefix(name, ())
    address = ipaddress.ip_address(f"{prefix}.11")
    assert address.is_loopback
    assert not str(address).startswith(("127.0.", "127.1."))


@given(NAMES)
def test_a_prefix_that_is_taken_is_passed_over(name: str) -> None:
    first = loopback_prefix(name, ())
    assert loopback_prefix(name, {first}) != first


def test_machines_keep_their_number_and_new_ones_take_the_lowest_free() -> None:
    spec = LabSpec("shop", tuple(MachineSpec(name) for name in ("a", "c", "d", "e")))
    assert numbering(spec, {"a": 0, "b": 1, "c": 2}) == {"a": 0, "c": 2, "d": 1, "e": 3}


def test_hardware_addresses_differ_by_lab_machine_and_card() -> None:
    found = {mac(lab, machine, card) for lab in "xy" for machine in "ab" for card in ("management", "lan")}
    assert len(found) == 8
    assert all(item.startswith("52:54:00:") for item in found)


def test_the_first_machine_is_eleven() -> None:
    where = addresses("shop", "127.80.3", 0, "web-1")
    assert (where.loopback, where.lan) == ("127.80.3.11", "198.18.0.11")
