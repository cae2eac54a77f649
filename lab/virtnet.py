"""libvirt's networks, which say in their metadata whose they are. Errors leave as LabError."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from lab.domain import OWN_NAMESPACE
from lab.virt import Virt, translated

NETWORK_BOTH = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG


@dataclass(frozen=True)
class OwnedNetwork:
    """A network that some lab made."""

    name: str
    lab: str
    directory: str
    token: str


def has_kvm(connection: Any) -> bool:
    """Whether a libvirt offers KVM."""
    try:
        connection.getDomainCapabilities(None, "x86_64", None, "kvm")
    except libvirt.libvirtError:
        return False
    return True


def set_cable(virt: Virt, uuid: str, mac: str, *, up: bool, network: str = "") -> None:
    """Pull or put back the cable of a running machine's card; `network` puts it into another network."""
    with translated("changing a machine's cable"):
        domain = virt.domain(uuid)
        card = next(
            item
            for item in ET.fromstring(domain.XMLDesc()).findall("./devices/interface")
            if item.find(f"./mac[@address='{mac}']") is not None
        )
        # What libvirt found out about the old place.
        for name in ("target", "link"):
            for found in card.findall(name):
                card.remove(found)
        source = card.find("source")
        if source is not None:
            for name in ("bridge", "portid"):
                source.attrib.pop(name, None)
            if network:
                source.set("network", network)
        ET.SubElement(card, "link", state="up" if up else "down")
        text = ET.tostring(card, encoding="unicode")
        domain.updateDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def free_memory(connection: Any) -> int:
    """Bytes of a hypervisor's memory that can still be used."""
    with translated("asking for a hypervisor's memory"):
        found = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    return sum(int(found.get(name, 0)) for name in ("free", "buffers", "cached")) * 1024


class Networks:
    """The networks of one libvirt."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def _find(self, name: str) -> Any:
        try:
            return self._connection.networkLookupByName(name)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
                return None
            raise

    def subnets(self) -> dict[str, str]:
        """The IPv4 networks that libvirt's networks have, running or not: address with prefix by name."""
        found = {}
        with translated("listing networks"):
            for network in self._connection.listAllNetworks():
                for ip in ET.fromstring(network.XMLDesc()).findall("ip"):
                    if ip.get("family", "ipv4") == "ipv4" and ip.get("address"):
                        prefix = ip.get("prefix") or ip.get("netmask") or "32"
                        found[network.name()] = f"{ip.get('address')}/{prefix}"
        return found

    def ensure(self, name: str, xml: str) -> bool:
        """Define and start a network unless it is there; False where its addresses are taken on that host."""
        with translated(f"the network {name}"):
            network = self._find(name)
            made = network is None
            if network is None:
                network = self._connection.networkDefineXML(xml)
            if network.isActive():
                return True
            try:
                network.create()
            except libvirt.libvirtError as exc:
                if made:
                    network.undefine()
                # libvirt compares with the routes of its own host, which nobody else can see.
                if "already in use" in str(exc):
                    return False
                raise
        return True

    def assign(self, name: str, macs: Mapping[str, str], names: Mapping[str, Iterable[str]]) -> None:
        """Give hardware addresses their fixed IPv4 address, and addresses their names, and no others."""
        leases = {ip: f"<host mac='{mac}' ip='{ip}'><lease expiry='0'/></host>" for mac, ip in macs.items()}
        records = {
            ip: f"<host ip='{ip}'>{''.join(f'<hostname>{item}</hostname>' for item in items)}</host>"
            for ip, items in names.items()
        }
        with translated(f"the addresses of the network {name}"):
            network = self._find(name)
            root = ET.fromstring(network.XMLDesc())
            for section, place, wanted in (
                (libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, "./ip/dhcp/host", leases),
                (libvirt.VIR_NETWORK_SECTION_DNS_HOST, "./dns/host", records),
            ):
                present = {item.get("ip", ""): item for item in root.findall(place)}
                for ip, item in present.items():
                    if ip not in wanted or _words(item) != _words(ET.fromstring(wanted[ip])):
                        network.update(
                            libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
                            section,
                            -1,
                            ET.tostring(item, encoding="unicode"),
                            NETWORK_BOTH,
                        )
                for ip, xml in wanted.items():
                    if ip not in present or _words(present[ip]) != _words(ET.fromstring(xml)):
                        network.update(
                            libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, xml, NETWORK_BOTH
                        )

    def remove(self, name: str) -> None:
        """Stop a network and forget it. Nothing happens where there is none."""
        with translated(f"removing the network {name}"):
            network = self._find(name)
            if network is not None:
                if network.isActive():
                    network.destroy()
                network.undefine()

    def owned(self) -> tuple[OwnedNetwork, ...]:
        """Every network that some lab made."""
        found = []
        with translated("listing networks"):
            for network in self._connection.listAllNetworks():
                label = ET.fromstring(network.XMLDesc()).find(f"./metadata/{{{OWN_NAMESPACE}}}lab")
                if label is not None:
                    words = (label.get("name", ""), label.get("directory", ""), label.get("token", ""))
                    found.append(OwnedNetwork(network.name(), *words))
        return tuple(found)


def _words(item: ET.Element) -> tuple[str | None, str | None, tuple[str, ...]]:
    return item.get("ip"), item.get("mac"), tuple(name.text or "" for name in item.findall("hostname"))
