"""The networks between a lab's machines as they are: numbers, subnets, each machine's cards. Values only.

198.18.0.0/24     `lan`
198.18.N.0/24     a network that says no subnet; where N (16 to 199) begins follows from the lab's name
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freehold.errors import UsageError
from lab.address import FIRST, LAN_PREFIX, lan_address, mac
from lab.model import MachineSpec
from lab.topology import LAN, NetworkSpec

AUTOMATIC = "198.18.{}.0/24"
FIRST_AUTOMATIC, AUTOMATICS = 16, 184
# Each has a slot on its machines' bus; networks that a running lab no longer names keep theirs.
MOST_NUMBERS = 12
DOWN_FIRST = "`freehold lab down` first, then bring it up again"


@dataclass(frozen=True)
class NetworkState:
    """A further network of a lab: its number among them, its IPv4 subnet, whether it is isolated."""

    name: str
    number: int
    subnet: str
    isolated: bool = False

    @property
    def prefix(self) -> int:
        """The length of the subnet's prefix."""
        return ipaddress.ip_network(self.subnet).prefixlen


@dataclass(frozen=True)
class Plug:
    """A machine's card in a network between machines, and the address that it has there."""

    network: str
    address: str
    mac: str
    prefix: int = LAN_PREFIX

    @property
    def device(self) -> str:
        """What the card is called inside of the machine."""
        return "eth1" if self.network == LAN else f"net-{self.network}"

    def port(self, machine: str) -> str:
        """What the lab's switch calls its end; names of machines have no dot."""
        return machine if self.network == LAN else f"{machine}.{self.network}"


def met(mine: Sequence[Plug], theirs: Sequence[Plug]) -> tuple[Plug, Plug] | None:
    """The cards of two machines in the first network that both are on, in the order of the first machine."""
    other = {plug.network: plug for plug in theirs}
    return next(((plug, other[plug.network]) for plug in mine if plug.network in other), None)


def leads_out(networks: Sequence[NetworkState], plugs: Sequence[Plug]) -> bool:
    """Whether a machine with these cards may reach the internet: one of its networks is not isolated."""
    isolated = {network.name for network in networks if network.isolated}
    return any(plug.network not in isolated for plug in plugs)


def planned(
    lab: str, wanted: Sequence[NetworkSpec], known: Sequence[NetworkState]
) -> tuple[NetworkState, ...]:
    """The further networks of a lab: those that it has stay, new ones get a number and a subnet."""
    found = list(known)
    said = [item.subnet for item in wanted if item.subnet]
    for spec in wanted:
        before = next((item for item in found if item.name == spec.name), None)
        if before is not None:
            if spec.isolated != before.isolated or (spec.subnet and spec.subnet != before.subnet):
                raise UsageError(
                    f"the network {spec.name} of the lab {lab} is {before.subnet}"
                    f"{', isolated' if before.isolated else ''}",
                    hint=DOWN_FIRST,
                )
            continue
        number = len(found)
        if number >= MOST_NUMBERS:
            raise UsageError(f"the lab {lab} has had {number} further networks", hint=DOWN_FIRST)
        subnet = spec.subnet or _free(lab, number, [*said, *(item.subnet for item in found)])
        if any(_overlap(subnet, item.subnet) for item in found):
            raise UsageError(f"{subnet} overlaps a network that the lab {lab} has", hint=DOWN_FIRST)
        found.append(NetworkState(spec.name, number, subnet, spec.isolated))
    return tuple(found)


def _overlap(one: str, other: str) -> bool:
    return ipaddress.IPv4Network(one).overlaps(ipaddress.IPv4Network(other))


def _free(lab: str, number: int, taken: Sequence[str]) -> str:
    start = hashlib.sha256(f"networks\0{lab}".encode()).digest()[0] + number
    for attempt in range(AUTOMATICS):
        subnet = AUTOMATIC.format(FIRST_AUTOMATIC + (start + attempt) % AUTOMATICS)
        if not any(_overlap(subnet, item) for item in taken):
            return subnet
    raise UsageError(
        f"no subnet of 198.18.0.0/16 is free for the lab {lab}", hint="give its networks subnets"
    )


def plugged(
    lab: str,
    networks: Sequence[NetworkState],
    machines: Sequence[tuple[MachineSpec, int]],
    known: Mapping[str, Sequence[Plug]],
) -> dict[str, tuple[Plug, ...]]:
    """The cards of each machine (with its number), in the order in which it names its networks; `known` stay.

    The address in a further network is the one that is said, else the host's own where the subnet has it,
    else it follows from the number.
    """
    own = {network.name: network for network in networks}
    found: dict[str, tuple[Plug, ...]] = {}
    taken: dict[str, set[str]] = {}

    def take(machine: str, network: str, address: str) -> str:
        theirs = taken.setdefault(network, set())
        if address in theirs:
            raise UsageError(
                f"{machine} cannot have {address} in {network}: another machine of the lab {lab} has it"
            )
        theirs.add(address)
        return address

    for machine, _ in machines:
        for plug in known.get(machine.name, ()):
            take(machine.name, plug.network, plug.address)
    new = [(machine, number) for machine, number in machines if machine.name not in known]
    said = {
        (machine.name, name): take(machine.name, name, address)
        for machine, _ in new
        for name in machine.networks
        if name != LAN and (address := _said(machine, own[name]))
    }
    for machine, number in machines:
        if machine.name in known:
            found[machine.name] = _same(machine, known[machine.name])
            continue
        plugs = []
        for name in machine.networks:
            # A further network may be called as another card is.
            card = mac(lab, machine.name, name if name == LAN else f"net-{name}")
            if name == LAN:
                plugs.append(Plug(LAN, lan_address(number), card))
                continue
            address = said.get((machine.name, name)) or take(
                machine.name, name, _next(lab, own[name], number, taken.get(name, set()))
            )
            plugs.append(Plug(name, address, card, own[name].prefix))
        found[machine.name] = tuple(plugs)
    return found


def _same(machine: MachineSpec, known: Sequence[Plug]) -> tuple[Plug, ...]:
    """The cards that a machine has; UsageError where the file asks for others."""
    there = {plug.network: plug.address for plug in known}
    if set(machine.networks) != set(there) or any(
        address and address != there[name] for name, address in machine.networks.items()
    ):
        listing = ", ".join(f"{name} ({address})" for name, address in there.items())
        raise UsageError(f"{machine.name} is on {listing}, and its cards stay as they are", hint=DOWN_FIRST)
    return tuple(known)


def _said(machine: MachineSpec, network: NetworkState) -> str:
    fixed = machine.networks[network.name]
    if fixed:
        return fixed
    subnet = ipaddress.IPv4Network(network.subnet)
    try:
        host = ipaddress.IPv4Address(machine.host)
    except ValueError:
        return ""
    inside = host in subnet and host not in (subnet.network_address, subnet.broadcast_address)
    return machine.host if inside else ""


def _next(lab: str, network: NetworkState, number: int, taken: set[str]) -> str:
    subnet = ipaddress.IPv4Network(network.subnet)
    # The first address is left to what people put there by habit: a gateway.
    hosts = range(2, subnet.num_addresses - 1)
    for place in (FIRST + number, *hosts):
        if place in hosts and str(subnet[place]) not in taken:
            return str(subnet[place])
    raise UsageError(f"the network {network.name} of the lab {lab} is full", hint="a larger `subnet:`")
