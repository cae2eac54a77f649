"""A host's network as a seed says it: cloud-init's network-config, version 2 (netplan) and version 1."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from cloudinit.contradictions import EVERYWHERE, Card, Way, check_card, check_cards
from cloudinit.contradictions import Interface as _Interface
from freehold.settings import Place, Wrong, setting

T = TypeVar("T")
_MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"


@dataclass(frozen=True)
class Route:
    """A route beside the default one."""

    to: str = setting(help="Network.", example="198.51.100.0/24")
    via: str = setting(help="Address of the gateway.", example="192.0.2.254")

    def __post_init__(self) -> None:
        self.way()

    def way(self, place: Place = ()) -> Way:
        """What contradictions are looked for in. Wrong at what is no network or address."""
        to = _parse(ipaddress.ip_network, self.to, (*place, "to"))
        via = _parse(ipaddress.ip_address, self.via, (*place, "via"))
        return Way(to, via, (*place, "via"))


def _parse(reader: Callable[[str], T], text: str, place: Place) -> T:
    try:
        return reader(text)
    except ValueError as exc:
        raise Wrong(str(exc), place) from exc


def _own(text: str, place: Place) -> tuple[_Interface, Place]:
    address = _parse(ipaddress.ip_interface, text, place)
    if "/" not in text:
        raise Wrong(f"{text} has no prefix; write {text}/{24 if address.version == 4 else 64}", place)
    return address, place


def _gateway(family: int, text: str, place: Place) -> Way:
    address = _parse(ipaddress.ip_address, text, place)
    if address.version != family:
        raise Wrong(f"gateway{family} {text} is no IPv{family} address", place)
    return Way(EVERYWHERE[family], address, place)


@dataclass(frozen=True)
class Interface:
    """One network card: matched by name, or by hardware address where `mac` is given."""

    name: str = setting("eth0", pattern=r"[A-Za-z0-9_.-]{1,15}", help="Name of the interface.")
    mac: str | None = setting(None, pattern=_MAC, help="Hardware address that it is found by.")
    dhcp4: bool = setting(False, help="Ask for an IPv4 address.")
    dhcp6: bool = setting(False, help="Ask for an IPv6 address.")
    addresses: tuple[str, ...] = setting((), help="Own addresses with prefix.", example=["192.0.2.10/24"])
    gateway4: str | None = setting(None, help="IPv4 gateway.")
    gateway6: str | None = setting(None, help="IPv6 gateway.")
    nameservers: tuple[str, ...] = setting((), help="Addresses of DNS servers.")
    search: tuple[str, ...] = setting((), help="DNS search domains; need `nameservers`.")
    routes: tuple[Route, ...] = setting((), help="Routes beside the default one.")
    mtu: int | None = setting(None, minimum=576, maximum=65535, help="MTU.")
    optional: bool = setting(False, help="The boot does not wait for it.")
    rename: bool = setting(False, help="Give the card that `mac` finds this name.")

    def __post_init__(self) -> None:
        for index, server in enumerate(self.nameservers):
            _parse(ipaddress.ip_address, server, ("nameservers", index))
        if self.search and not self.nameservers:
            # cloud-init would leave out the search, and the servers of every card after this one.
            raise Wrong(
                f"{self.name}: search needs nameservers; to search beside DHCP's, write Domains= into "
                "/etc/systemd/resolved.conf.d/search.conf with files",
                ("search",),
            )
        if self.rename and self.mac is None:
            raise Wrong(f"{self.name}: rename needs the mac of the card", ("rename",))
        check_card(self.card())

    def card(self, place: Place = ()) -> Card:
        """What contradictions are looked for in; `place` leads to this map. Wrong at what is no address."""
        asks = frozenset(family for family, does in ((4, self.dhcp4), (6, self.dhcp6)) if does)
        gateways = ((4, "gateway4", self.gateway4), (6, "gateway6", self.gateway6))
        return Card(
            self.name,
            place,
            tuple(_own(text, (*place, "addresses", index)) for index, text in enumerate(self.addresses)),
            (
                *(_gateway(family, text, (*place, key)) for family, key, text in gateways if text),
                *(route.way((*place, "routes", index)) for index, route in enumerate(self.routes)),
            ),
            self.mtu,
            dynamic=asks,
            led=asks,
        )

    def all_routes(self) -> list[tuple[str, str]]:
        """(destination, gateway) of every route, the default ones first."""
        defaults = (("0.0.0.0/0", self.gateway4), ("::/0", self.gateway6))
        ways = [(to, via) for to, via in defaults if via] + [(route.to, route.via) for route in self.routes]
        return [(part, via) for to, via in ways for part in _destinations(to)]


def _destinations(to: str) -> list[str]:
    # cloud-init 22.4 loses a prefix that is 0 and makes ::/64 of it; every release takes the two halves. An
    # address without a prefix would get one of 24 or 64.
    network = str(ipaddress.ip_network(to))
    return ["::/1", "8000::/1"] if network == "::/0" else [network]


@dataclass(frozen=True)
class Network:
    """All network cards of a host."""

    interfaces: tuple[Interface, ...] = setting(help="The network cards.")

    def __post_init__(self) -> None:
        if not self.interfaces:
            raise ValueError("a network has at least one interface")
        for what, values in (
            ("interfaces are named", [item.name for item in self.interfaces]),
            ("interfaces have the mac", [item.mac for item in self.interfaces if item.mac]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"two {what} {value}")
        check_cards([item.card(("interfaces", index)) for index, item in enumerate(self.interfaces)])

    def v2(self) -> dict[str, Any]:
        """network-config version 2."""
        return {"version": 2, "ethernets": {item.name: _v2(item) for item in self.interfaces}}

    def v1(self) -> dict[str, Any]:
        """network-config version 1, for images whose cloud-init or renderer knows no better."""
        return {"version": 1, "config": [_v1(item) for item in self.interfaces]}


def _v2(item: Interface) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if item.mac:
        entry["match"] = {"macaddress": item.mac}
        if item.rename:
            entry["set-name"] = item.name
    entry["dhcp4"] = item.dhcp4
    entry["dhcp6"] = item.dhcp6
    if item.addresses:
        entry["addresses"] = list(item.addresses)
    if item.all_routes():
        entry["routes"] = [{"to": to, "via": via} for to, via in item.all_routes()]
    if item.nameservers:
        entry["nameservers"] = {"addresses": list(item.nameservers)}
        if item.search:
            entry["nameservers"]["search"] = list(item.search)
    if item.mtu:
        entry["mtu"] = item.mtu
    if item.optional:
        entry["optional"] = True
    return entry


def _v1(item: Interface) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "physical", "name": item.name}
    if item.mac:
        entry["mac_address"] = item.mac
    if item.mtu:
        entry["mtu"] = item.mtu
    subnets: list[dict[str, Any]] = []
    if item.dhcp4:
        subnets.append({"type": "dhcp4"})
    if item.dhcp6:
        subnets.append({"type": "dhcp6"})
    for address in item.addresses:
        version = ipaddress.ip_interface(address).version
        subnets.append({"type": "static" if version == 4 else "static6", "address": address})
    for version in (4, 6):
        _attach_routes(item, version, subnets)
    if subnets and item.nameservers:
        subnets[-1]["dns_nameservers"] = list(item.nameservers)
    if subnets and item.search:
        subnets[-1]["dns_search"] = list(item.search)
    entry["subnets"] = subnets
    return entry


def _attach_routes(item: Interface, version: int, subnets: list[dict[str, Any]]) -> None:
    # Version 1 hangs routes on a subnet: the first of the same family carries them.
    kinds = ("static", "dhcp4") if version == 4 else ("static6", "dhcp6")
    carrier = next((subnet for kind in kinds for subnet in subnets if subnet["type"] == kind), None)
    if carrier is None:
        return
    gateway = item.gateway4 if version == 4 else item.gateway6
    if gateway:
        carrier["gateway"] = gateway
    routes = [
        {"destination": part, "gateway": route.via}
        for route in item.routes
        if ipaddress.ip_network(route.to).version == version
        for part in _destinations(route.to)
    ]
    if routes:
        carrier["routes"] = routes
