"""Addresses of a lab, worked out from its name: loopback, between the machines, hardware.

    127.A.B.N       the machine N on this computer; A.B belongs to the lab
    198.18.0.N/24   between the machines (RFC 2544: never routed on the internet); each lab has its own wire
    198.18.1.0/24   the user-mode network that carries the loopback forwards
    198.19.0.0/16   a /24 of it for each system libvirt, on which its machines are reached (RFC 2544 too)

The second and third are the same in every lab, as no packet passes from one lab to another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from lab.model import LabSpec

FIRST = 11
LAN_PREFIX = 24
MANAGEMENT_NETWORK = "198.18.1.0/24"
MANAGEMENT_GATEWAY = "198.18.1.2"
MANAGEMENT_DNS = "198.18.1.3"
MANAGEMENT_ADDRESS = "198.18.1.15"
NAT_NETWORKS = "198.19.0.0/16"
# From where this computer, or the hypervisor that it comes through, reaches a machine.
SOURCES = (MANAGEMENT_NETWORK, NAT_NETWORKS)


@dataclass(frozen=True)
class Addresses:
    """Where one machine is: `loopback` on this computer, `lan` between the machines."""

    loopback: str
    lan: str
    management_mac: str
    lan_mac: str


def _hash(*words: str) -> bytes:
    return hashlib.sha256("\0".join(words).encode()).digest()


def loopback_prefix(lab: str, taken: Collection[str]) -> str:
    """`127.A.B` for a lab: the same for the same name, unless another lab has it (`taken`)."""
    for attempt in range(10_000):
        digest = _hash("loopback", lab, str(attempt))
        # 127.0 holds the computer's own services, 127.1 what people pick by hand.
        prefix = f"127.{16 + digest[0] % 239}.{digest[1]}"
        if prefix not in taken:
            return prefix
    raise AssertionError("61,184 prefixes cannot all be taken by labs")


def mac(lab: str, machine: str, card: str) -> str:
    """A stable hardware address with QEMU's prefix 52:54:00."""
    digest = _hash("mac", lab, machine, card)
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def lan_address(number: int) -> str:
    """The address between the machines of the machine with the given number (0 is the first)."""
    return f"198.18.0.{FIRST + number}"


def addresses(lab: str, prefix: str, number: int, machine: str) -> Addresses:
    """The addresses of the machine with the given number (0 is the first)."""
    return Addresses(
        loopback=f"{prefix}.{FIRST + number}",
        lan=lan_address(number),
        management_mac=mac(lab, machine, "management"),
        lan_mac=mac(lab, machine, "lan"),
    )


def numbering(spec: LabSpec, known: dict[str, int]) -> dict[str, int]:
    """A number for each machine: those that have one keep it, new ones take the lowest free."""
    numbers = {machine.name: known[machine.name] for machine in spec.machines if machine.name in known}
    used = set(numbers.values())
    for machine in spec.machines:
        if machine.name not in numbers:
            number = next(free for free in range(len(used) + 1) if free not in used)
            used.add(number)
            numbers[machine.name] = number
    return numbers
