"""What listens on a host, and who from outside gets through to it.

Two sources, as neither knows it all: `ss` lists sockets, and a port that Docker publishes without its
userland proxy has no socket; Docker lists those.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from cloudinit.facts import Facts
from cloudinit.parts.firewall import own_ports
from cloudinit.profile import HostProfile
from cloudinit.services import PortRule

# DHCP answers come to these; the kernel takes them for the client only.
_CLIENTS = {("udp", 68), ("udp", 546)}
_PUBLISHED = re.compile(r"(?:(?P<address>\S+):)?(?P<first>\d+)(?:-(?P<last>\d+))?->\S+/(?P<protocol>tcp|udp)")


@dataclass(frozen=True)
class Listener:
    """One port on one address. `address` is as the host says it: `0.0.0.0`, `*`, `2001:db8::1`."""

    protocol: str
    address: str
    port: int
    program: str = "?"
    container: bool = False

    @property
    def local(self) -> bool:
        """Whether only the host itself can reach it."""
        try:
            found = ipaddress.ip_address(self.address.partition("%")[0])
        except ValueError:
            return False
        return found.is_loopback

    @property
    def name(self) -> str:
        """`5432/tcp`."""
        return f"{self.port}/{self.protocol}"


def listeners(facts: Facts) -> tuple[Listener, ...]:
    """What listens on addresses that other machines can reach, sorted by port."""
    found = {*_sockets(facts), *_published(facts)}
    return tuple(
        sorted(
            (item for item in found if not item.local and (item.protocol, item.port) not in _CLIENTS),
            key=lambda item: (item.port, item.protocol, item.address),
        )
    )


def _sockets(facts: Facts) -> list[Listener]:
    found = []
    for line in facts.lines("listeners"):
        protocol, _, _, _, local, *rest = line.split()
        address, _, port = local.rpartition(":")
        if port.isdigit():
            program = re.search(r'"([^"]+)"', " ".join(rest))
            name = program.group(1) if program else "?"
            found.append(Listener(protocol, address.strip("[]"), int(port), name))
    return found


def _published(facts: Facts) -> list[Listener]:
    found = []
    for line in facts.lines("published"):
        name, _, ports = line.partition(" ")
        for part in ports.split(", "):
            match = _PUBLISHED.fullmatch(part.strip())
            if match is None:
                continue
            address = (match["address"] or "0.0.0.0").strip("[]") or "::"
            first, last = int(match["first"]), int(match["last"] or match["first"])
            found += [
                Listener(match["protocol"], address, port, name, container=True)
                for port in range(first, last + 1)
            ]
    return found


def allowed(profile: HostProfile) -> tuple[PortRule, ...]:
    """The ports that the profile means to be reachable."""
    return (*own_ports(profile), *profile.firewall.open)


def reach(listener: Listener, profile: HostProfile) -> str:
    """Who reaches it: `everybody`, the networks that a rule names, or `nobody` (the firewall drops it)."""
    # A published port passes the forward hook, where only `firewall.open` counts.
    rules = profile.firewall.open if listener.container else allowed(profile)
    fitting = [
        rule
        for rule in rules
        if rule.protocol == listener.protocol and rule.first <= listener.port <= rule.last
    ]
    if not profile.firewall.enabled or any(rule.source is None for rule in fitting):
        return "everybody"
    return ", ".join(str(rule.source) for rule in fitting) or "nobody"


def meant(listener: Listener, profile: HostProfile) -> bool:
    """Whether the profile means this port to be reachable."""
    return any(
        rule.protocol == listener.protocol and rule.first <= listener.port <= rule.last
        for rule in allowed(profile)
    )
