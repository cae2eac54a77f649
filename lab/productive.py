"""Addresses of production between a lab's machines: who keeps one, and by which way others find it. Pure.

Hosts that the deploy file calls by an IPv4 address keep it, so that what one host's configuration says about
another is true in the lab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.model import is_address
from lab.networks import Plug, met


@dataclass(frozen=True)
class Kept:
    """On one machine: the address of its own in `network`, or (`via` is given) the way to another's."""

    network: str
    address: str
    via: str = ""


def kept(name: str, machines: Mapping[str, tuple[str, Sequence[Plug]]]) -> tuple[Kept, ...]:
    """What the machine `name` has to know; each machine with its host of the deploy file and its cards."""
    mine = machines[name][1]
    networks = {plug.network for plug in mine}
    found = []
    for other, (host, cards) in machines.items():
        # A further network may have the host's own address anyway.
        own = [plug.network for plug in cards if plug.address == host]
        if not is_address(host) or ":" in host or networks & set(own):
            continue
        if other == name:
            found.append(Kept(mine[0].network, host))
        elif both := met(mine, cards):
            found.append(Kept(both[0].network, host, both[1].address))
    return tuple(found)
