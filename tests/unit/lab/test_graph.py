"""The picture of a lab: every machine, and what is wrong with its link."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from lab.graph import describe, svg
from lab.labfile import parse_lab_file
from lab.mirror import from_file
from tests.unit.lab.samples import lab_state


def words(picture: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_every_machine_is_there_with_its_roles_and_addresses() -> None:
    found = words(svg(lab_state(), {}, {}))
    for text in ("web-1", "web-1.example.com", "203.0.113.7", "db-1", "web, job-runner", "198.18.0.13"):
        assert text in found
    assert "127.80.3.11: 2222 8080 8443" in found


def test_a_broken_link_stands_in_place_of_its_address() -> None:
    found = words(svg(lab_state(), {"web-2": {"cut": True}}, {"db-1": 1}))
    assert "cut" in found
    assert "group 1" in found
    assert "198.18.0.12" not in found


def test_further_networks_are_drawn_with_the_cards_in_them() -> None:
    text = (
        "networks: {back: {subnet: 10.2.0.0/24, isolated: true}}\nmachines: {a: {networks: [back, lan]}, b: }"
    )
    state = lab_state(spec=from_file(parse_lab_file(text), "shop"))
    found = words(svg(state, {}, {}))
    for said in ("back: 10.2.0.0/24, isolated", "10.2.0.11", "198.18.0.11", "198.18.0.12"):
        assert said in found
    broken = words(svg(state, {"a.back": {"cut": True}}, {"a.back": 1, "a": 1}))
    assert "cut, group 1" in broken
    assert "group 1" in broken
    assert "10.2.0.11" not in broken
    alone = replace(state, machines=tuple(replace(item, plugs=item.plugs[:1]) for item in state.machines[:1]))
    assert not any("between the machines" in text for text in words(svg(alone, {}, {})))


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({}, ""),
        ({"delay": 0.05, "jitter": 0.01}, "50 ±10 ms"),
        ({"loss": 0.025, "rate": 10e6}, "2.5% lost, 10 Mbit/s"),
    ],
)
def test_what_is_wrong_is_said_shortly(link: dict[str, object], said: str) -> None:
    assert describe(link) == said
