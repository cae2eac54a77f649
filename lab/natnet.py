"""The networks of a lab that libvirt itself carries: names, addresses, XML. No effects.

    freehold-LAB-TOKEN        management: this computer (or the hypervisor) reaches the machines, DHCP and DNS
                              by libvirt's dnsmasq, a way out where the lab has one; machines are kept apart
    freehold-LAB-TOKEN-lan    between the machines: a bridge and nothing else; `-lan-2` and so on when
                              groups of machines are apart
    freehold-LAB-TOKEN-net-N  a further network N of the lab, the same; `-net-N.2` and so on

Management networks are of 198.19.0.0/16: a /24 that nothing on the hypervisor uses.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from lab.address import FIRST, NAT_NETWORKS
from lab.domain import mark
from lab.state import Hypervisor, LabState, MachineState
from lab.topology import LAN

POOLS = Path("/var/lib/libvirt/images")


def base_name(lab: str, token: str) -> str:
    """What everything of a lab on a hypervisor is called, or begins with."""
    return f"freehold-{lab}-{token}"


def lan_name(state: LabState, group: int = 0, network: str = LAN) -> str:
    """A network between the machines of a group; 0 is where all of them are."""
    base = base_name(state.name, state.token)
    if network == LAN:
        return f"{base}-lan{f'-{group + 1}' if group else ''}"
    return f"{base}-net-{network}{f'.{group + 1}' if group else ''}"


def apart(state: LabState, names: Iterable[str]) -> tuple[str, ...]:
    """Of the names of networks those of groups that are apart."""
    base = re.escape(base_name(state.name, state.token))
    return tuple(name for name in names if re.fullmatch(rf"{base}-(lan-|net-[^.]+\.)\d+", name))


def candidates(lab: str, hypervisor: str, taken: Collection[str]) -> Iterator[str]:
    """Management networks to try, the same order for the same names; none overlaps with `taken`."""
    used = [ipaddress.ip_network(item, strict=False) for item in taken]
    start = hashlib.sha256(f"{lab}\0{hypervisor}".encode()).digest()[0]
    networks = list(ipaddress.IPv4Network(NAT_NETWORKS).subnets(new_prefix=24))
    for found in (*networks[start:], *networks[:start]):
        if not any(item.version == 4 and item.overlaps(found) for item in used):
            yield str(found)


def routed(routes: str, addresses: str) -> tuple[str, ...]:
    """The networks that a computer reaches, of `ip -j route` and `ip -j address`; no default routes."""
    found = [item.get("dst", "") for item in json.loads(routes or "[]")]
    for link in json.loads(addresses or "[]"):
        found += [f"{item['local']}/{item['prefixlen']}" for item in link.get("addr_info", ())]
    networks = []
    for text in found:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if network.prefixlen:
            networks.append(str(network))
    return tuple(networks)


def management_address(hypervisor: Hypervisor, number: int) -> str:
    """The address of a machine on its hypervisor's management network; nothing before that is chosen."""
    if not hypervisor.subnet:
        return ""
    return str(ipaddress.ip_network(hypervisor.subnet)[FIRST + number])


def management_xml(state: LabState, subnet: str) -> str:
    """The management network. Addresses and names come later, as machines come and go."""
    network = ipaddress.ip_network(subnet)
    root = _network(state, base_name(state.name, state.token), "m")
    if state.internet:
        ET.SubElement(root, "forward", mode="nat")
    ET.SubElement(root, "domain", name=f"{state.name}.lab", localOnly="yes")
    ip = ET.SubElement(root, "ip", address=str(network[1]), prefix=str(network.prefixlen))
    ET.SubElement(ip, "dhcp")
    return ET.tostring(root, encoding="unicode")


def lan_xml(state: LabState, group: int = 0, network: str = LAN) -> str:
    """The network between the machines of a group."""
    letter = "l" if network == LAN else f"n{next(n.number for n in state.networks if n.name == network)}g"
    name = lan_name(state, group, network)
    return ET.tostring(_network(state, name, f"{letter}{group or ''}"), encoding="unicode")


def networks_at(state: LabState, hypervisor: Hypervisor) -> tuple[str, ...]:
    """The networks between machines that a hypervisor has cards in; `lan` always."""
    cards = [plug.network for machine in state.on(hypervisor) for plug in machine.cards]
    return tuple(dict.fromkeys((LAN, *cards)))


def _network(state: LabState, name: str, letter: str) -> ET.Element:
    root = ET.Element("network")
    ET.SubElement(root, "name").text = name
    mark(ET.SubElement(root, "metadata"), state.name, state.directory, state.token)
    # A bridge's name has 15 letters at most.
    ET.SubElement(root, "bridge", name=f"fh{state.token}{letter}", stp="off", delay="0")
    return root


def records(state: LabState, hypervisor: Hypervisor) -> tuple[dict[str, str], dict[str, list[str]]]:
    """For libvirt's dnsmasq there: address by hardware address, and names by address between the machines."""
    here = state.on(hypervisor)
    leases = {machine.management_mac: machine.management for machine in here}
    # Every machine there gets the same answers: a name that only some can reach is in their /etc/hosts.
    return leases, {machine.lan: _names(machine) for machine in here if machine.lan}


def _names(machine: MachineState) -> list[str]:
    host = machine.host.lower()
    return [machine.name] if host == machine.name or not host[:1].isalpha() else [machine.name, host]
