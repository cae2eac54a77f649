"""A network-config of the user's own, version 1 or 2: its cards, as contradictions are looked for in them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from cloudinit.contradictions import (
    EVERYWHERE,
    Address,
    AnyNetwork,
    Card,
    Interface,
    Way,
    check_cards,
)
from freehold.settings import Place, Wrong, fail
from freehold.yamlfile import Node

T = TypeVar("T")
_SECTIONS = ("ethernets", "bonds", "bridges", "vlans")
_KINDS = ("physical", "bond", "bridge", "vlan")
# Types of a subnet of version 1 by which a card gets addresses from others; the first ones bring a gateway.
_ASKS = {
    "dhcp": (4, True),
    "dhcp4": (4, True),
    "dhcp6": (6, True),
    "ipv6_dhcpv6-stateful": (6, False),
    "ipv6_dhcpv6-stateless": (6, False),
    "ipv6_slaac": (6, False),
}


def check_network(node: Node) -> None:
    """ConfigError at the first contradiction of a network-config that has passed its schema."""
    try:
        cards = _second(node) if _text(node, "version") == "2" else _first(node)
        check_cards([_announced(card) for card in cards])
    except Wrong as exc:
        fail(node.at(exc.place), str(exc))


def _announced(card: Card) -> Card:
    """A card without an IPv6 address may get one by a router's announcements."""
    fixed = any(address.version == 6 for address, _ in card.addresses)
    return card if fixed else replace(card, dynamic=card.dynamic | {6})


# Version 2


def _second(node: Node) -> Iterator[Card]:
    for section in _SECTIONS:
        for name, entry in (node.get(section) or Node({}, node.where)).items():
            yield _card(name, entry, (section, name))


def _card(name: str, entry: Node, place: Place) -> Card:
    asks = frozenset(family for family in (4, 6) if _text(entry, f"dhcp{family}") in ("True", "yes"))
    ways = [
        Way(EVERYWHERE[family], _address(gateway, (*place, f"gateway{family}")), (*place, f"gateway{family}"))
        for family in (4, 6)
        if (gateway := _text(entry, f"gateway{family}"))
    ]
    for index, route in enumerate((entry.get("routes") or entry).elements()):
        ways.append(_route(route, (*place, "routes", index), to="to", via="via"))
    return Card(
        _text(entry, "set-name") or name,
        place,
        tuple(
            _own(str(item.value), "", (*place, "addresses", index))
            for index, item in enumerate((entry.get("addresses") or entry).elements())
        ),
        tuple(ways),
        _whole(entry, "mtu"),
        asks,
        frozenset(family for family in asks if _takes_routes(entry, family)),
    )


def _takes_routes(entry: Node, family: int) -> bool:
    overrides = entry.get(f"dhcp{family}-overrides")
    return overrides is None or _text(overrides, "use-routes") != "False"


# Version 1


def _first(node: Node) -> Iterator[Card]:
    for index, item in enumerate((node.get("config") or node).elements()):
        if _text(item, "type") in _KINDS:
            yield _old_card(item, ("config", index))


def _old_card(item: Node, place: Place) -> Card:
    addresses: list[tuple[Interface, Place]] = []
    ways: list[Way] = []
    asks: set[int] = set()
    led: set[int] = set()
    for index, subnet in enumerate((item.get("subnets") or item).elements()):
        at = (*place, "subnets", index)
        family, leads = _ASKS.get(_text(subnet, "type"), (0, False))
        asks |= {family} - {0}
        led |= {family} if leads else set()
        if address := _text(subnet, "address"):
            addresses.append(_own(address, _text(subnet, "netmask"), (*at, "address")))
        if gateway := _text(subnet, "gateway"):
            via = _address(gateway, (*at, "gateway"))
            ways.append(Way(EVERYWHERE[via.version], via, (*at, "gateway"), _whole(subnet, "metric")))
        for number, route in enumerate((subnet.get("routes") or subnet).elements()):
            to = "network" if route.get("network") else "destination"
            ways.append(_route(route, (*at, "routes", number), to=to, via="gateway"))
    return Card(
        _text(item, "name"),
        place,
        tuple(addresses),
        tuple(ways),
        _whole(item, "mtu"),
        frozenset(asks),
        frozenset(led),
    )


# Both


def _route(route: Node, place: Place, *, to: str, via: str) -> Way:
    gateway = _text(route, via)
    address = _address(gateway, (*place, via)) if gateway else None
    return Way(
        _destination(route, address, (*place, to)),
        address,
        (*place, via if gateway else to),
        _whole(route, "metric"),
    )


def _destination(route: Node, via: Address | None, place: Place) -> AnyNetwork:
    text, mask = _text(route, str(place[-1])), _text(route, "netmask")
    if text == "default":
        return EVERYWHERE[via.version if via else 4]
    joined = f"{text}/{mask}" if mask and "/" not in text else text
    # An address of the network in place of the network's own is taken by every renderer.
    return _parse(lambda wanted: ipaddress.ip_network(wanted, strict=False), joined, place)


def _own(text: str, mask: str, place: Place) -> tuple[Interface, Place]:
    joined = f"{text}/{mask}" if mask and "/" not in text else text
    address = _parse(ipaddress.ip_interface, joined, place)
    if "/" not in joined:
        raise Wrong(f"{text} has no prefix; write {text}/{24 if address.version == 4 else 64}", place)
    return address, place


def _address(text: str, place: Place) -> Address:
    return _parse(ipaddress.ip_address, text, place)


def _parse(reader: Callable[[str], T], text: str, place: Place) -> T:
    try:
        return reader(text)
    except ValueError as exc:
        raise Wrong(str(exc), place) from exc


def _text(node: Node, key: str) -> str:
    found = node.get(key)
    return "" if found is None or found.value is None else str(found.value)


def _whole(node: Node, key: str) -> int | None:
    found = node.get(key)
    return found.value if found is not None and isinstance(found.value, int) else None
