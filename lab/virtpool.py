"""libvirt's storage: the volumes that a system libvirt keeps for a lab. Errors leave as LabError."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree as ET

import libvirt

from freehold.errors import LabError
from lab.virt import translated

CHUNK = 256 * 1024


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
            _start(pool)
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

    @property
    def open(self) -> bool:
        """Whether volumes can be looked at; nobody has started the pool after the hypervisor's reboot."""
        with translated(f"the storage pool {self.name}"):
            pool = self._find()
            return pool is not None and bool(pool.isActive())

    def used(self, name: str) -> int:
        """Bytes that a volume takes; 0 where it is not, or the pool is not open."""
        if not self.open:
            return 0
        with translated(f"the volume {name}"):
            volume = self._volume(name)
            return int(volume.info()[2]) if volume is not None else 0

    def upload(self, name: str, path: Path) -> None:
        """A volume with a file's content in place of any of that name; nothing of it stays on failure."""
        self.delete(name)
        size = path.stat().st_size
        self.create(name, size, kind="raw")
        try:
            with path.open("rb") as source, translated(f"uploading {path.name}"):
                stream = self._connection.newStream()
                self._volume(name).upload(stream, 0, size)
                _send(stream, source)
        except BaseException:
            self.delete(name)
            raise

    def read(self, name: str, offset: int) -> bytes:
        """A volume's content from byte `offset` on; nothing where there is no more or nobody can look."""
        if not self.open:
            return b""
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
            _start(pool)
            pool.refresh()
            for volume in pool.listAllVolumes():
                volume.delete()
            pool.destroy()
            pool.delete()
            pool.undefine()


def _start(pool: Any) -> None:
    if not pool.isActive():
        # A directory that is there stays as it is; one that is not would keep the pool from being started.
        pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NEW)
        pool.create()


def _send(stream: Any, source: BinaryIO) -> None:
    stream.sendAll(lambda _stream, most, _opaque: source.read(most), None)
    stream.finish()
