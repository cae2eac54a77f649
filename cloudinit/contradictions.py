"""Network cards that contradict themselves or each other, whoever described them: the profile or an own file.

What cannot be told is let pass: whatever DHCP and a router's announcements may bring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloudinit.services import APP_SUBNET
from freehold.settings import Place, Wrong

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYWHERE: dict[int, AnyNetwork] = {
    4: ipaddress.IPv4Network("0.0.0.0/0"),
    6: ipaddress.IPv6Network("::/0"),
}
# IPv6 does not work over less (RFC 8200, section 5).
_IPV6_MTU = 1280


@dataclass(frozen=True)
class Way:
    """A route, or a gateway as the route to everywhere; `via` is None where no router is between."""

    to: AnyNetwork
    via: Address | None
    place: Place
    metric: int | None = None

    @property
    def key(self) -> str:
        """The name of the setting that says it."""
        return next((str(part) for part in reversed(self.place) if isinstance(part, str)), "")

    @property
    def default(self) -> bool:
        """Whether it leads everywhere."""
        return self.to.prefixlen == 0


@dataclass(frozen=True)
class Card:
    """A card's own addresses and routes, each with its place.

    `dynamic`: the families (4, 6) that get addresses from others; `led`: those that get a gateway with them.
    """

    name: str
    place: Place = ()
    addresses: tuple[tuple[Interface, Place], ...] = ()
    ways: tuple[Way, ...] = ()
    mtu: int | None = None
    dynamic: frozenset[int] = frozenset()
    led: frozenset[int] = frozenset()


def check_cards(cards: Sequence[Card]) -> None:
    """Wrong, with the place, at the first contradiction."""
    for card in cards:
        check_card(card)
    _check_shared(cards)
    _check_defaults(cards)


def check_card(card: Card) -> None:
    """Wrong at the first contradiction within one card."""
    seen: set[Address] = set()
    for address, place in card.addresses:
        _check_address(address, place)
        if address.ip in seen:
            raise Wrong(f"{card.name} has one address twice: {address.ip}", place)
        seen.add(address.ip)
    for way in card.ways:
        _check_way(card, way)
    sixes = 6 in card.dynamic or any(address.version == 6 for address, _ in card.addresses)
    if card.mtu is not None and card.mtu < _IPV6_MTU and sixes:
        raise Wrong(
            f"{card.name} has IPv6 addresses, which need an MTU of {_IPV6_MTU} at least, not {card.mtu}",
            (*card.place, "mtu"),
        )


def _check_address(address: Interface, place: Place) -> None:
    ip, network = address.ip, address.network
    for kind, found in (
        ("a loopback address", ip.is_loopback),
        ("a multicast address", ip.is_multicast),
        ("the unspecified address", ip.is_unspecified),
    ):
        if found:
            raise Wrong(f"{ip} is {kind}, which no host has on a card", place)
    ends = (network.network_address, network.broadcast_address)
    if ip.version == 4 and network.prefixlen < 31 and ip in ends:
        raise Wrong(f"{address} is the network's own or its broadcast address, not a host's", place)
    if network.overlaps(APP_SUBNET):
        raise Wrong(f"{address} reaches into {APP_SUBNET}, which is the containers' network", place)


def _check_way(card: Card, way: Way) -> None:
    if way.via is None:
        if not way.default and way.to.overlaps(APP_SUBNET):
            raise Wrong(f"the route to {way.to} leads into {APP_SUBNET}, the containers' network", way.place)
        return
    family = way.to.version
    if way.via.version != family:
        what = "the gateway" if way.default else f"the route to {way.to}"
        raise Wrong(f"{what} cannot be {way.via}: IPv4 and IPv6 are mixed", way.place)
    if way.to.version == 4 and way.to.prefixlen >= APP_SUBNET.prefixlen and way.to.overlaps(APP_SUBNET):
        raise Wrong(f"the route to {way.to} leads into {APP_SUBNET}, the containers' network", way.place)
    if any(way.via == address.ip for address, _ in card.addresses):
        raise Wrong(f"the gateway {way.via} is the host's own address", way.place)
    if way.default and family in card.led:
        raise Wrong(f"{card.name}: dhcp{family} brings its own gateway; leave {way.key} out", way.place)
    if not _reaches(card, way.via):
        raise Wrong(f"the gateway {way.via} is in none of the networks of {card.name}", way.place)


def _reaches(card: Card, via: Address) -> bool:
    linked = (way.to for way in card.ways if way.via is None and not way.default)
    own = (address.network for address, _ in card.addresses)
    return (
        via.version in card.dynamic
        or (via.version == 6 and via.is_link_local)
        or any(via in network for network in (*own, *linked))
    )


def _check_shared(cards: Iterable[Card]) -> None:
    addresses: set[Address] = set()
    networks: dict[AnyNetwork, str] = {}
    for card in cards:
        for address, place in card.addresses:
            if address.ip in addresses:
                raise Wrong(f"two interfaces have the address {address.ip}", place)
            addresses.add(address.ip)
            network = address.network
            # Every card has the same network of link-local addresses; one of a single address is none.
            if address.is_link_local or network.prefixlen == network.max_prefixlen:
                continue
            other = networks.setdefault(network, card.name)
            if other != card.name:
                raise Wrong(f"{other} and {card.name} are both in {network}: a subnet has one card", place)


def _check_defaults(cards: Iterable[Card]) -> None:
    found: dict[tuple[int, int | None], str] = {}
    for card in cards:
        for way in (way for way in card.ways if way.default):
            family = way.to.version
            other = found.get((family, way.metric))
            if other is not None:
                raise Wrong(
                    f"{card.name} has a second default route for IPv{family}; {other} has one already",
                    way.place,
                )
            found[family, way.metric] = card.name
