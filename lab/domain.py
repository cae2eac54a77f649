"""The libvirt domain of a machine as XML. Every choice stands here; a pure function of its values.

Facts: https://libvirt.org/formatdomain.html, https://www.qemu.org/docs/master/system/invocation.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

from lab.bootpath import CPU_WITHOUT, MACHINE_WITHOUT
from lab.usernet import CARD, SLOT, Management, passt_interface, slirp_netdev

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
OWN_NAMESPACE = "urn:freehold:lab"
KiB = 1024
MiB = 1024 * KiB
# TCG would take up to 1 GiB for translated code; a booted Debian with Docker uses about 100 MiB of it.
TRANSLATION_CACHE = 256
# vda is the root, vdb the seed.
FURTHER_LETTERS = "cdefghij"
# A slot for each private network, behind the one of the card that leads to this computer.
FIRST_WIRE = 0x11

Accelerator = Literal["kvm", "tcg"]

ET.register_namespace("qemu", QEMU_NAMESPACE)
ET.register_namespace("freehold", OWN_NAMESPACE)


@dataclass(frozen=True)
class DirectKernel:
    """Start this kernel without firmware or boot loader."""

    kernel: Path
    initrd: Path
    cmdline: str


@dataclass(frozen=True)
class Wire:
    """The machine's end of a private network: the switch's Unix socket, and which slot the card is in."""

    mac: str
    socket: Path
    name: str = "lan"
    place: int = 0


@dataclass(frozen=True)
class Card:
    """A card on one of libvirt's own networks; `alone` keeps it from all other machines there."""

    name: str
    mac: str
    network: str
    alone: bool = False


@dataclass(frozen=True)
class Domain:
    """All that goes into a domain. `memory` in bytes; `nvram` is needed to boot by firmware.

    `as_root`: QEMU keeps the daemon's own user and labels nothing, for a libvirt that runs as root. With
    `Card`s for all networks nothing of this computer is named, and the firmware's variables are libvirt's.
    """

    name: str
    uuid: str
    lab: str
    directory: Path
    accelerator: Accelerator
    arch: str
    cpus: int
    memory: int
    disk: Path
    base: Path
    seed: Path
    console: Path
    management: Management | Card
    wires: tuple[Wire | Card, ...]
    kernel: DirectKernel | None
    disks: tuple[Path, ...] = ()
    nvram: Path | None = None
    as_root: bool = False
    reconnect: bool = True
    token: str = ""


def chipset(arch: str) -> str:
    """The board that QEMU emulates for an architecture."""
    return "q35" if arch == "x86_64" else "virt"


def domain_xml(domain: Domain) -> str:
    """The domain's XML, ready to define."""
    root = ET.Element("domain", type="kvm" if domain.accelerator == "kvm" else "qemu")
    _text(root, "name", domain.name)
    _text(root, "uuid", domain.uuid)
    _text(root, "title", f"freehold lab {domain.lab}")
    metadata = ET.SubElement(root, "metadata")
    mark(metadata, domain.lab, domain.directory, domain.token)
    _text(root, "memory", str(domain.memory // KiB), unit="KiB")
    _text(root, "vcpu", str(domain.cpus))
    _boot(root, domain)
    _platform(root, domain)
    _devices(root, domain)
    if domain.as_root:
        label = ET.SubElement(root, "seclabel", type="static", model="dac", relabel="no")
        _text(label, "label", "+0:+0")
    _command_line(root, domain)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def mark(metadata: ET.Element, lab: str, directory: Path, token: str = "") -> None:
    """Say in something's metadata whose it is."""
    names = {"name": lab, "directory": str(directory), **({"token": token} if token else {})}
    ET.SubElement(metadata, f"{{{OWN_NAMESPACE}}}lab", names)


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _boot(root: ET.Element, domain: Domain) -> None:
    machine = chipset(domain.arch)
    if domain.kernel is not None:
        system = ET.SubElement(root, "os")
        _text(system, "type", "hvm", arch=domain.arch, machine=machine)
        _text(system, "kernel", str(domain.kernel.kernel))
        _text(system, "initrd", str(domain.kernel.initrd))
        _text(system, "cmdline", domain.kernel.cmdline)
        return
    if domain.nvram is None and not isinstance(domain.management, Card):
        raise ValueError("booting by firmware needs a file for the firmware's variables")
    system = ET.SubElement(root, "os", firmware="efi")
    _text(system, "type", "hvm", arch=domain.arch, machine=machine)
    features = ET.SubElement(system, "firmware")
    ET.SubElement(features, "feature", enabled="no", name="secure-boot")
    if domain.nvram is not None:
        _text(system, "nvram", str(domain.nvram))


def _platform(root: ET.Element, domain: Domain) -> None:
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    if domain.arch == "x86_64":
        ET.SubElement(features, "apic")
    if domain.accelerator == "tcg":
        tcg = ET.SubElement(features, "tcg")
        _text(tcg, "tb-cache", str(TRANSLATION_CACHE), unit="MiB")
    # `maximum` is every feature that the emulator has: Debian 13's programs run on it, and so does Docker.
    mode = "host-passthrough" if domain.accelerator == "kvm" else "maximum"
    cpu = ET.SubElement(root, "cpu", mode=mode)
    if domain.arch == "x86_64" and domain.accelerator == "tcg":
        for name in CPU_WITHOUT:
            ET.SubElement(cpu, "feature", policy="disable", name=name)
    clock = ET.SubElement(root, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    if domain.arch == "x86_64":
        ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
        # An emulated HPET wakes the emulator thousands of times a second.
        ET.SubElement(clock, "timer", name="hpet", present="no")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    # A panicked machine stays as it is, so that its cause can be read.
    _text(root, "on_crash", "preserve")


def _devices(root: ET.Element, domain: Domain) -> None:
    devices = ET.SubElement(root, "devices")
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    # `unsafe` ignores flushes: a crash of this computer may lose the disk, a crash of the machine does not.
    ET.SubElement(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(disk, "source", file=str(domain.disk))
    backing = ET.SubElement(disk, "backingStore", type="file")
    ET.SubElement(backing, "format", type="qcow2")
    ET.SubElement(backing, "source", file=str(domain.base))
    ET.SubElement(backing, "backingStore")
    ET.SubElement(disk, "target", dev="vda", bus="virtio")
    if domain.kernel is None:
        ET.SubElement(disk, "boot", order="1")
    # virtio, not a CD drive: Debian's cloud kernel has no SATA driver.
    seed = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(seed, "driver", name="qemu", type="raw")
    ET.SubElement(seed, "source", file=str(domain.seed))
    ET.SubElement(seed, "target", dev="vdb", bus="virtio")
    ET.SubElement(seed, "readonly")
    _text(seed, "serial", "freehold-seed")
    for number, path in enumerate(domain.disks):
        _further_disk(devices, path, number)
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(domain.console), append="on")
    ET.SubElement(serial, "target", port="0")
    for card in (domain.management, *domain.wires):
        if isinstance(card, Card):
            _card(devices, card)
    if isinstance(domain.management, Management) and domain.management.passt:
        passt_interface(devices, domain.management)
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    ET.SubElement(devices, "audio", id="1", type="none")
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="none")
    if domain.arch == "x86_64":
        ET.SubElement(devices, "panic", model="pvpanic")


def _further_disk(devices: ET.Element, path: Path, number: int) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=f"vd{FURTHER_LETTERS[number]}", bus="virtio")
    # The machine finds it as /dev/disk/by-id/virtio-data-1, whatever order its kernel sees.
    _text(disk, "serial", f"data-{number + 1}")


def _card(devices: ET.Element, card: Card) -> None:
    interface = ET.SubElement(devices, "interface", type="network")
    ET.SubElement(interface, "mac", address=card.mac)
    ET.SubElement(interface, "source", network=card.network)
    ET.SubElement(interface, "model", type="virtio")
    if card.alone:
        ET.SubElement(interface, "port", isolated="yes")
    ET.SubElement(interface, "alias", name=f"ua-{card.name}")
    ET.SubElement(interface, "rom", enabled="no")


def wire_netdev(wire: Wire, *, reconnect: bool) -> str:
    """The private network's end: frames on a stream to the lab's switch.

    `reconnect` (QEMU 9.2 and newer) finds the switch again after the switch was restarted.
    """
    path = str(wire.socket).replace(",", ",,")
    again = ",reconnect-ms=500" if reconnect else ""
    return f"stream,id={wire.name},server=off,addr.type=unix,addr.path={path}{again}"


def _command_line(root: ET.Element, domain: Domain) -> None:
    # Fixed slots, as QEMU would give these the first ones, which libvirt means for its own devices.
    model = "virtio-net-pci,romfile=" if domain.arch == "x86_64" else "virtio-net-pci"
    arguments: list[str] = []
    if isinstance(domain.management, Management) and not domain.management.passt:
        card = f"{model},netdev=management,id={CARD},mac={domain.management.mac}"
        arguments += ["-netdev", slirp_netdev(domain.management)]
        arguments += ["-device", f"{card},bus=pcie.0,addr={SLOT}"]
    for wire in domain.wires:
        if isinstance(wire, Wire):
            place = f"bus=pcie.0,addr={FIRST_WIRE + wire.place:#x}"
            card = f"{model},netdev={wire.name},id=card-{wire.name},mac={wire.mac},{place}"
            arguments += ["-netdev", wire_netdev(wire, reconnect=domain.reconnect), "-device", card]
    if domain.arch == "x86_64" and domain.kernel is not None:
        # libvirt has no words for these; QEMU adds them to the machine that libvirt names.
        arguments += ["-machine", MACHINE_WITHOUT]
    if not arguments:
        return
    line = ET.SubElement(root, f"{{{QEMU_NAMESPACE}}}commandline")
    for argument in arguments:
        ET.SubElement(line, f"{{{QEMU_NAMESPACE}}}arg", value=argument)
