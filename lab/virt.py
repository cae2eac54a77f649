"""libvirt's machines. Only the modules called `virt...` import libvirt; its errors leave as LabError."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu  # type: ignore[import-untyped]

from freehold.errors import LabError
from lab.domain import OWN_NAMESPACE

STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: "unknown",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "stopping",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "suspended",
}
ABSENT = "absent"
ALIVE = ("running", "paused", "crashed", "stopping", "suspended")

# A daemon that is new reads its schema for the first domain; two at once, and libxml2 finds its own tables
# half made ("Unable to parse RelaxNG schema").
_DEFINING = threading.Lock()

# libvirt prints every error on standard error by itself unless a handler takes it.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


@dataclass(frozen=True)
class Owned:
    """A domain that belongs to a lab, wherever that lab's files are."""

    name: str
    uuid: str
    lab: str
    directory: str
    state: str
    token: str = ""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as exc:
        raise LabError(f"{doing}: {exc.get_error_message() or exc}", hint=_hint(exc)) from exc


def _hint(exc: libvirt.libvirtError) -> str:
    text = str(exc).lower()
    if "failed to connect socket" in text and "permission denied" in text:
        return "this user may not use it: join the group libvirt, or leave `uri:` out, as a lab needs no root"
    if "permission denied" in text:
        return "the user that libvirt runs as cannot read a file or socket named above"
    if "failed to connect socket" in text:
        return "no libvirt daemon answers there"
    if "cannot allocate memory" in text or "cannot set up guest memory" in text:
        return "not enough memory: give the machines less (`memory:` in config/lab.yml) or stop another lab"
    if "could not set up host forwarding" in text or "failed to bind any port" in text:
        return "an address of the lab is in use: `freehold lab gc` removes leftovers of other runs"
    return ""


def answers(uri: str) -> bool:
    """Whether a libvirt answers at `uri`."""
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError:
        return False
    return True


class Virt:
    """Connections to the libvirts of a lab; leaving the block closes them. Any thread may call the methods.

    A machine is looked for on all of them, as its identifier is on one only.
    """

    def __init__(self, *uris: str) -> None:
        self._connections: dict[str, Any] = {}
        try:
            for uri in uris:
                with translated(f"libvirt at {uri} does not answer"):
                    self._connections[uri] = libvirt.open(uri)
        except LabError:
            self.close()
            raise

    def connection(self, uri: str) -> Any:
        """libvirt's own object for one of them, for `virtnet`."""
        return self._connections[uri]

    def __enter__(self) -> Virt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the domains go on."""
        with translated("closing the connection to libvirt"):
            for connection in self._connections.values():
                connection.close()

    @property
    def qemu_version(self) -> tuple[int, int, int]:
        """The version of QEMU that the domains run on; the oldest of several."""
        with translated("asking for QEMU's version"):
            number = min(connection.getVersion() for connection in self._connections.values())
        return number // 1_000_000, number // 1000 % 1000, number % 1000

    def _find(self, uuid: str) -> Any:
        for connection in self._connections.values():
            try:
                return connection.lookupByUUIDString(uuid)
            except libvirt.libvirtError as exc:
                if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        return None

    def domain(self, uuid: str) -> Any:
        """libvirt's own object for a machine; LabError where it is on none."""
        found = self._find(uuid)
        if found is None:
            raise LabError("libvirt knows no such machine any more", hint="`freehold lab up` makes it again")
        return found

    def state(self, uuid: str) -> str:
        """`running`, `paused`, `off`, `crashed`, `stopping`, `suspended` or `absent`."""
        with translated("asking for a machine's state"):
            domain = self._find(uuid)
            if domain is None:
                return ABSENT
            try:
                return STATES.get(domain.state()[0], "unknown")
            except libvirt.libvirtError as exc:
                if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return ABSENT
                raise

    def define(self, xml: str, uri: str = "") -> None:
        """Make the domain known (at `uri`, where there are several), or change it for the next start."""
        connection = self._connections[uri or next(iter(self._connections))]
        with _DEFINING, translated("defining a machine"):
            connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)

    def start(self, uuid: str) -> None:
        """Start a defined domain."""
        with translated("starting a machine"):
            self.domain(uuid).create()

    def shutdown(self, uuid: str) -> None:
        """Ask the machine to power off (ACPI)."""
        with translated("stopping a machine"):
            self.domain(uuid).shutdown()

    def destroy(self, uuid: str) -> None:
        """End the machine as a power cut does. Nothing happens where it does not run."""
        with translated("ending a machine"):
            domain = self._find(uuid)
            if domain is None:
                return
            try:
                domain.destroy()
            except libvirt.libvirtError as exc:
                if exc.get_error_code() not in (
                    libvirt.VIR_ERR_OPERATION_INVALID,
                    libvirt.VIR_ERR_NO_DOMAIN,
                ):
                    raise

    def remove(self, uuid: str) -> None:
        """End the machine and forget its definition, snapshots and firmware variables."""
        self.destroy(uuid)
        with translated("removing a machine"):
            domain = self._find(uuid)
            if domain is not None:
                domain.undefineFlags(
                    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
                )

    def suspend(self, uuid: str) -> None:
        """Freeze the machine's processors."""
        with translated("pausing a machine"):
            self.domain(uuid).suspend()

    def resume(self, uuid: str) -> None:
        """Let a frozen machine go on."""
        with translated("resuming a machine"):
            self.domain(uuid).resume()

    def reset(self, uuid: str) -> None:
        """Press the reset button."""
        with translated("resetting a machine"):
            self.domain(uuid).reset()

    def monitor(self, uuid: str, command: str, **arguments: Any) -> Any:
        """A QEMU monitor command (QMP); returns what it answers."""
        with translated(f"QEMU's {command}"):
            text = libvirt_qemu.qemuMonitorCommand(
                self.domain(uuid), json.dumps({"execute": command, "arguments": arguments}), 0
            )
        return json.loads(text).get("return")

    def snapshot(self, uuid: str, name: str) -> None:
        """Keep memory and disk under `name`, inside the machine's own disk file."""
        root = ET.Element("domainsnapshot")
        ET.SubElement(root, "name").text = name
        with translated(f"taking the snapshot {name}"):
            self.domain(uuid).snapshotCreateXML(ET.tostring(root, encoding="unicode"), 0)

    def restore(self, uuid: str, name: str) -> None:
        """Put memory and disk back to the snapshot and let the machine run from there."""
        with translated(f"restoring the snapshot {name}"):
            domain = self.domain(uuid)
            snapshot = domain.snapshotLookupByName(name)
            domain.revertToSnapshot(
                snapshot,
                libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING | libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE,
            )

    def forget(self, uuid: str, name: str) -> None:
        """Delete a snapshot."""
        with translated(f"deleting the snapshot {name}"):
            self.domain(uuid).snapshotLookupByName(name).delete()

    def snapshots(self, uuid: str) -> tuple[str, ...]:
        """The names of a machine's snapshots, the oldest first."""
        with translated("listing snapshots"):
            domain = self._find(uuid)
            if domain is None:
                return ()
            found = domain.listAllSnapshots()
            dated = [(ET.fromstring(item.getXMLDesc()).findtext("creationTime", "0"), item) for item in found]
            return tuple(item.getName() for _, item in sorted(dated, key=lambda pair: int(pair[0])))

    def resident(self, uuid: str) -> int:
        """Bytes of this computer's memory that the machine holds; 0 where it does not run."""
        with translated("asking for a machine's memory"):
            domain = self._find(uuid)
            if domain is None or not domain.isActive():
                return 0
            return int(domain.memoryStats().get("rss", 0)) * 1024

    def console_device(self, uuid: str) -> str:
        """The pseudo-terminal of the machine's serial console."""
        with translated("looking for a machine's console"):
            root = ET.fromstring(self.domain(uuid).XMLDesc())
        found = root.find("./devices/serial/source")
        path = found.get("path") if found is not None else None
        if not path:
            raise LabError(
                "the machine has no console now", hint="`freehold lab status` shows whether it runs"
            )
        return path

    def owned(self) -> tuple[Owned, ...]:
        """Every domain here that some lab made."""
        found = []
        with translated("listing machines"):
            for domain in (item for each in self._connections.values() for item in each.listAllDomains()):
                label = ET.fromstring(domain.XMLDesc()).find(f"./metadata/{{{OWN_NAMESPACE}}}lab")
                if label is not None:
                    found.append(
                        Owned(
                            domain.name(),
                            domain.UUIDString(),
                            label.get("name", ""),
                            label.get("directory", ""),
                            STATES.get(domain.state()[0], "unknown"),
                            label.get("token", ""),
                        )
                    )
        return tuple(found)
