"""The card by which this computer reaches a machine: user-mode networking, by passt or by QEMU's own slirp.

Both give the machine the same addresses, so that its seed need not know which of them carries it. slirp can
keep a machine from leaving (`restrict=on`), and passt cannot. So passt carries machines that may leave, where
it works: to those slirp also shows what listens on this computer's loopback, at their gateway's address.

Facts: https://libvirt.org/formatdomain.html (userspace connection), passt(1),
https://www.qemu.org/docs/master/system/invocation.html (-netdev user).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from freehold.environment import which
from freehold.files import new_private_dir, write_atomic
from lab.address import (
    MANAGEMENT_ADDRESS,
    MANAGEMENT_DNS,
    MANAGEMENT_GATEWAY,
    MANAGEMENT_NETWORK,
)

# What QEMU calls the card, whoever carries it. libvirt wants `ua-` before names that it did not give.
CARD = "ua-net"
SLOT = "0x10"
# libvirt has no words for these. Without --no-map-gw a machine would reach the services that listen on this
# computer's loopback at its gateway's address. --gateway is also where connections from this computer seem to
# come from, which `ssh.allow` has to know.
ALONE = "--no-map-gw"
OPTIONS = (
    "--ipv4-only",
    ALONE,
    *("--gateway", MANAGEMENT_GATEWAY),
    *("--dns-forward", MANAGEMENT_DNS),
)
WRAPPER = """\
#!/bin/sh
# libvirt finds this passt before the system's.
exec {program} {options} "$@"
"""


@dataclass(frozen=True)
class Management:
    """The user-mode network: `forwards` are (port here, port of the machine) on the address `loopback`.

    `passt` carries only a machine that may leave (`internet`): ValueError where it may not.
    """

    mac: str
    loopback: str
    forwards: tuple[tuple[int, int], ...]
    internet: bool
    passt: bool = False

    def __post_init__(self) -> None:
        if self.passt and not self.internet:
            raise ValueError("passt cannot keep a machine from leaving")


def slirp_netdev(management: Management) -> str:
    """QEMU's user-mode network with its forwards; libvirt's own XML knows neither forwards nor `restrict`."""
    options = [
        "user",
        "id=management",
        "ipv6=off",
        f"net={MANAGEMENT_NETWORK}",
        f"host={MANAGEMENT_GATEWAY}",
        f"dns={MANAGEMENT_DNS}",
        f"dhcpstart={MANAGEMENT_ADDRESS}",
        f"restrict={'off' if management.internet else 'on'}",
    ]
    options += [
        f"hostfwd=tcp:{management.loopback}:{here}-{MANAGEMENT_ADDRESS}:{there}"
        for here, there in management.forwards
    ]
    return ",".join(options)


def passt_interface(devices: ET.Element, management: Management) -> None:
    """Add the card as libvirt's own: it starts passt before the machine, and ends it with it."""
    interface = ET.SubElement(devices, "interface", type="user")
    ET.SubElement(interface, "mac", address=management.mac)
    prefix = MANAGEMENT_NETWORK.partition("/")[2]
    ET.SubElement(interface, "ip", family="ipv4", address=MANAGEMENT_ADDRESS, prefix=prefix)
    for here, there in management.forwards:
        # One each: passt starts as long as it can listen on one port of an element.
        forward = ET.SubElement(interface, "portForward", proto="tcp", address=management.loopback)
        ET.SubElement(forward, "range", start=str(here), to=str(there))
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "backend", type="passt")
    ET.SubElement(interface, "alias", name=CARD)
    ET.SubElement(interface, "rom", enabled="no")
    place = {"type": "pci", "domain": "0x0000", "bus": "0x00", "slot": SLOT, "function": "0x0"}
    ET.SubElement(interface, "address", place)


def install_passt(folder: Path) -> bool:
    """Write into `folder` the passt that a lab's own libvirt starts; False where none is installed."""
    program = which("passt")
    if program is None:
        return False
    text = WRAPPER.format(program=shlex.quote(str(program)), options=shlex.join(OPTIONS))
    write_atomic(new_private_dir(folder) / "passt", text, 0o700)
    return True
