"""The networks between a lab's machines as a file asks for them, and what cannot be had.

`lan` is every lab's: a machine that names no networks is on it. Further ones have a name and a subnet.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LAN = "lan"
# As long as a card's name lets it be: `net-NAME` has 15 letters at most.
NETWORK = r"[a-z](?:[a-z0-9-]{0,9}[a-z0-9])?"
MOST_NETWORKS = 8
LONGEST_PREFIX = 29
RESERVED = {
    "198.18.0.0/23": "the lab's own: `lan`, and what leads to this computer",
    "198.19.0.0/16": "the lab's own, on system libvirts",
    "0.0.0.0/8": "of no use to hosts",
    "127.0.0.0/8": "each machine's own",
    "169.254.0.0/16": "of single links",
    "224.0.0.0/3": "of groups",
}


@dataclass(frozen=True)
class NetworkSpec:
    """A further network between machines. Without `subnet` (IPv4) the lab chooses one.

    A machine that is on `isolated` networks only has no way to the internet, whatever the lab has.
    """

    name: str
    subnet: str = ""
    isolated: bool = False


@dataclass(frozen=True)
class Member:
    """A machine as far as networks see it: those that it is on with its address there, empty where unsaid."""

    name: str
    networks: Mapping[str, str]
    hypervisor: str = ""


class Misplaced(ValueError):
    """What is wrong, and which keys of the file lead there."""

    def __init__(self, message: str, *path: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


def check(networks: Sequence[NetworkSpec], members: Sequence[Member]) -> None:
    """Misplaced for the first thing that cannot be."""
    if len(networks) > MOST_NETWORKS:
        raise Misplaced(
            f"{len(networks)} further networks are too many", "networks", hint=f"at most {MOST_NETWORKS}"
        )
    for number, network in enumerate(networks):
        _check_name(network)
        if network.subnet:
            _check_subnet(network, networks[:number])
    known = {network.name: network for network in networks}
    for member in members:
        if not member.networks:
            raise Misplaced(
                f"{member.name} is on no network", "machines", member.name, "networks", hint=f"`[{LAN}]`"
            )
        for name, address in member.networks.items():
            path = ("machines", member.name, "networks", name)
            if name != LAN and name not in known:
                raise Misplaced(f"there is no network {name!r}", *path, hint=_known(networks))
            if address:
                _check_address(known.get(name), address, path)
    for network in networks:
        _check_together(network.name, [item for item in members if network.name in item.networks])


def _known(networks: Sequence[NetworkSpec]) -> str:
    names = ", ".join((*(item.name for item in networks), LAN))
    return f"there are {names}" if networks else f"describe it under `networks:`; only {LAN} is always there"


def _check_name(network: NetworkSpec) -> None:
    if network.name == LAN:
        raise Misplaced(f"{LAN} is every lab's own network", "networks", LAN, hint="call yours otherwise")
    if not re.fullmatch(NETWORK, network.name):
        raise Misplaced(
            f"{network.name!r} is no name for a network",
            "networks",
            network.name,
            hint="lower-case letters, digits and '-', at most 11, for example back",
        )


def _check_subnet(network: NetworkSpec, others: Sequence[NetworkSpec]) -> None:
    path = ("networks", network.name, "subnet")
    try:
        subnet = ipaddress.IPv4Network(network.subnet)
    except ValueError as exc:
        raise Misplaced(f"{network.subnet!r} is no IPv4 subnet: {exc}", *path, hint="10.20.0.0/24") from exc
    if subnet.prefixlen > LONGEST_PREFIX or subnet.prefixlen < 8:
        raise Misplaced(f"{subnet} has no sensible size", *path, hint=f"from /8 to /{LONGEST_PREFIX}")
    for reserved, why in RESERVED.items():
        if subnet.overlaps(ipaddress.IPv4Network(reserved)):
            raise Misplaced(f"{subnet} overlaps {reserved}, which is {why}", *path, hint="take another")
    for other in others:
        if other.subnet and subnet.overlaps(ipaddress.IPv4Network(other.subnet)):
            raise Misplaced(f"{subnet} overlaps {other.subnet} of {other.name}", *path, hint="take another")


def _check_address(network: NetworkSpec | None, address: str, path: Sequence[str]) -> None:
    if network is None:
        raise Misplaced(
            f"the address in {LAN} follows from the machine",
            *path,
            hint="fixed ones are for further networks",
        )
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError as exc:
        raise Misplaced(f"{address!r} is no IPv4 address", *path, hint="for example 10.20.0.5") from exc
    if not network.subnet:
        raise Misplaced(
            f"{network.name} has no subnet that {address} could be of",
            *path,
            hint=f"`subnet:` under `networks:`, {network.name}",
        )
    subnet = ipaddress.IPv4Network(network.subnet)
    if found not in subnet:
        raise Misplaced(f"{address} is not in {subnet}, the subnet of {network.name}", *path)
    if found in (subnet.network_address, subnet.broadcast_address):
        raise Misplaced(f"{address} is the network's own or its broadcast address, not a host's", *path)


def _check_together(network: str, members: Sequence[Member]) -> None:
    """Addresses are of one machine each, and a network is on one hypervisor."""
    taken: dict[str, str] = {}
    for member in members:
        path = ("machines", member.name, "networks", network)
        address = member.networks[network]
        if address and address in taken:
            raise Misplaced(f"{taken[address]} has {address} in {network} already", *path)
        taken[address] = member.name
        first = members[0]
        if member.hypervisor != first.hypervisor:
            raise Misplaced(
                f"{network} would lead from {first.name} on {first.hypervisor} to {member.name} on "
                f"{member.hypervisor}, and no network of a lab leads from one hypervisor to another",
                *path,
                hint="place machines that talk to each other on one",
            )
