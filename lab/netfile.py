"""`networks:` in `config/lab.yml`, of the lab and of its machines, with the places of mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from freehold.settings import convert, fail, setting
from freehold.yamlfile import Node
from lab.topology import Member, Misplaced, NetworkSpec, check


@dataclass(frozen=True)
class NetworkFile:
    """A further network between machines."""

    subnet: str = setting(
        "", help="IPv4 subnet; a /24 of 198.18.0.0/16 where left out.", example="10.20.0.0/24"
    )
    isolated: bool = setting(
        False, help="Machines that are on isolated networks only have no internet, whatever the lab has."
    )


MEMBERSHIP_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        {"type": "object", "additionalProperties": {"type": ["string", "null"]}, "minProperties": 1},
    ]
}


def read_membership(node: Node) -> Mapping[str, str]:
    """`[lan, back]`, or `{back: 10.20.0.5}` with addresses: each network with the address, or nothing."""
    if node.kind == "map":
        return {name: convert(str, item) if item.kind != "null" else "" for name, item in node.items()}
    if node.kind != "list":
        fail(node, "expected the networks that it is on", hint="`[lan, back]` or `{lan: , back: 10.20.0.5}`")
    found: dict[str, str] = {}
    for item in node.elements():
        name = convert(str, item)
        if name in found:
            fail(item, f"{name} is named twice")
        found[name] = ""
    return found


def check_file(node: Node, networks: tuple[NetworkSpec, ...], members: tuple[Member, ...]) -> None:
    """ConfigError at the line of the first network or machine that cannot be so."""
    try:
        check(networks, members)
    except Misplaced as exc:
        _fail(node, exc)


def _fail(node: Node, wrong: Misplaced) -> NoReturn:
    found = node
    for key in wrong.path:
        child = found.get(key) or next((item for item in found.elements() if item.value == key), None)
        if child is None:
            break
        found = child
    fail(found, str(wrong), hint=wrong.hint)
