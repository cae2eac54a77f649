"""Whether passt works in a lab's own libvirt: found by starting a machine with it, as it will be started.

Versions tell little. libvirt may lack it or look for it elsewhere, passt may be missing, find no route to
anywhere, or be kept by AppArmor from its socket.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt

from freehold.environment import which
from freehold.errors import LabError
from lab import sweep
from lab.domain import chipset
from lab.usernet import ALONE, Management, passt_interface
from lab.virt import Virt, translated

# libvirt puts 20 letters of a machine's name into the path of passt's socket, which may be too long.
PROBE = "freehold-passt-probe"
MAC = "52:54:00:00:00:01"


def why_not_passt(virt: Virt, uri: str, runtime: Path, arch: str) -> str:
    """Start a machine of 16 MiB on passt, and end it before it runs; why that does not work, or nothing.

    `uri` is of the private libvirt whose directories are below `runtime`, `arch` what its QEMU emulates.
    """
    if which("passt") is None:
        return "passt is not installed"
    flags = (
        libvirt.VIR_DOMAIN_START_PAUSED
        | libvirt.VIR_DOMAIN_START_AUTODESTROY
        | libvirt.VIR_DOMAIN_START_VALIDATE
    )
    try:
        with translated("it does not start"):
            machine = virt.connection(uri).createXML(probe_xml(arch), flags)
            try:
                return _started(runtime)
            finally:
                machine.destroy()
    except LabError as exc:
        return shortly(exc.message)


def shortly(message: str) -> str:
    """What passt said last, out of what libvirt says when it ended; else all that libvirt says, on a line."""
    said = message.partition("unexpected exit status")[2].splitlines()
    # Where no syslog listens, passt adds that to each of its lines.
    last = [line.strip() for line in said if line.strip() and not line.rstrip().endswith("to syslog")]
    return last[-1] if last else " ".join(message.split())


def probe_xml(arch: str) -> str:
    """The machine that the probe starts: the card that leads to this computer, and nothing to boot."""
    root = ET.Element("domain", type="qemu")
    ET.SubElement(root, "name").text = PROBE
    ET.SubElement(root, "memory", unit="MiB").text = "16"
    kind = ET.SubElement(ET.SubElement(root, "os"), "type", arch=arch, machine=chipset(arch))
    kind.text = "hvm"
    devices = ET.SubElement(root, "devices")
    passt_interface(devices, Management(MAC, "127.0.0.1", (), internet=True, passt=True))
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def _started(runtime: Path) -> str:
    """Why the passt that the libvirt started is not the lab's, or nothing."""
    for process in sweep.processes([runtime]):
        try:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            # It has ended since.
            continue
        if process.name.startswith("passt") and any(PROBE.encode() in word for word in words):
            return "" if ALONE.encode() in words else "libvirt starts it without what a lab needs"
    return "it ended at once"
