"""libvirt's networks and storage: what a system libvirt keeps for a lab. Errors leave as LabError.

All of it carries the lab's own name, and networks say in their metadata whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree as ET

import libvirt

from freehold.errors import LabError
from lab.domain import OWN_NAMESPACE
from lab.virt import translated

CHUNK = 256 * 1024
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


class Pool:
    """A directory of volumes that one libvirt keeps for a lab."""

    def __init__(self, connection: Any, name: str, path: Path) -> None:
        self._connection = connection
        self.name = name
        self.path = path

    def _find(self) -> Any:
        try:
            return self._connection.storagePoolLookupByName(self.name)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                return None
            raise

    def _pool(self) -> Any:
        found = self._find()
        if found is None:
            raise LabError(f"the storage pool {self.name} is gone", hint="`freehold lab up` makes it again")
        return found

    def ensure(self) -> None:
        """Make and start the pool unless it is there."""
        with translated(f"the storage pool {self.name}"):
            pool = self._find()
            if pool is None:
                root = ET.Element("pool", type="dir")
                ET.SubElement(root, "name").text = self.name
                target = ET.SubElement(root, "target")
                ET.SubElement(target, "path").text = str(self.path)
                # QEMU, which is another user there, looks for its files below.
                ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = "0711"
                pool = self._connection.storagePoolDefineXML(ET.tostring(root, encoding="unicode"))
                pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NEW)
            if not pool.isActive():
                pool.create()
            pool.refresh()

    @property
    def free(self) -> int:
        """Bytes that volumes may still take."""
        with translated(f"the storage pool {self.name}"):
            return int(self._pool().info()[3])

    def _volume(self, name: str) -> Any:
        try:
            return self._pool().storageVolLookupByName(name)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                return None
            raise

    def names(self) -> tuple[str, ...]:
        """The volumes that are there."""
        with translated(f"the storage pool {self.name}"):
            return tuple(self._pool().listVolumes())

    def create(self, name: str, size: int, *, kind: str = "qcow2", base: Path | None = None) -> None:
        """A new volume of `size` bytes, over `base` where it is given."""
        root = ET.Element("volume")
        ET.SubElement(root, "name").text = name
        ET.SubElement(root, "capacity").text = str(size)
        if kind == "qcow2":
            ET.SubElement(root, "allocation").text = "0"
        target = ET.SubElement(root, "target")
        ET.SubElement(target, "format", type=kind)
        if base is not None:
            backing = ET.SubElement(root, "backingStore")
            ET.SubElement(backing, "path").text = str(base)
            ET.SubElement(backing, "format", type="qcow2")
        with translated(f"making the volume {name}"):
            self._pool().createXML(ET.tostring(root, encoding="unicode"))

    def grow(self, name: str, size: int) -> None:
        """Make a volume at least `size` bytes large."""
        with translated(f"growing the volume {name}"):
            volume = self._volume(name)
            if volume.info()[1] < size:
                volume.resize(size)

    def used(self, name: str) -> int:
        """Bytes that a volume takes; 0 where it is not."""
        with translated(f"the volume {name}"):
            volume = self._volume(name)
            return int(volume.info()[2]) if volume is not None else 0

    def upload(self, name: str, path: Path, tell: Callable[[int], None] = lambda _percent: None) -> None:
        """A volume with a file's content in place of any of that name; nothing of it stays on failure."""
        self.delete(name)
        size = path.stat().st_size
        self.create(name, size, kind="raw")
        try:
            with path.open("rb") as source, translated(f"uploading {path.name}"):
                stream = self._connection.newStream()
                self._volume(name).upload(stream, 0, size)
                _send(stream, source, size, tell)
        except BaseException:
            self.delete(name)
            raise

    def read(self, name: str, offset: int) -> bytes:
        """A volume's content from byte `offset` on; nothing where there is no more."""
        with translated(f"reading the volume {name}"):
            pool = self._pool()
            volume = self._volume(name)
            if volume is None:
                # Programs of the hypervisor write files there that the pool has not seen yet.
                pool.refresh()
                volume = self._volume(name)
            if volume is None:
                return b""
            stream = self._connection.newStream()
            try:
                volume.download(stream, offset, 0)
                parts = []
                while part := stream.recv(CHUNK):
                    parts.append(part)
                stream.finish()
            except libvirt.libvirtError:
                stream.abort()
                return b""
        return b"".join(parts)

    def delete(self, name: str) -> None:
        """Delete a volume. Nothing happens where there is none."""
        with translated(f"deleting the volume {name}"):
            volume = self._volume(name)
            if volume is not None:
                volume.delete()

    def remove(self) -> None:
        """Delete all volumes, the directory and the pool. Nothing happens where there is none."""
        with translated(f"removing the storage pool {self.name}"):
            pool = self._find()
            if pool is None:
                return
            if not pool.isActive():
                pool.create()
            pool.refresh()
            for volume in pool.listAllVolumes():
                volume.delete()
            pool.destroy()
            pool.delete()
            pool.undefine()


def _send(stream: Any, source: BinaryIO, size: int, tell: Callable[[int], None]) -> None:
    sent = 0

    def next_part(_stream: Any, most: int, _opaque: Any) -> bytes:
        nonlocal sent
        part = source.read(most)
        sent += len(part)
        tell(100 * sent // max(size, 1))
        return part

    stream.sendAll(next_part, None)
    stream.finish()
