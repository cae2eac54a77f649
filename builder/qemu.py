"""The QEMU command that boots an image on trial. Rendering only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from builder.spec import ARCHES
from freehold.errors import BuildError, UsageError

Mode = Literal["direct", "bios", "uefi", "secure"]
# How a machine sees an installation medium.
Medium = Literal["cd", "usb", "disk", "net"]
MEDIA: tuple[Medium, ...] = ("cd", "usb", "disk", "net")
MODES: tuple[Mode, ...] = ("direct", "bios", "uefi", "secure")

# What the disks of a machine on trial are called by their maker.
SERIAL = "TRIAL1"
SPARE_SERIAL = "TRIAL2"

# Where a machine on trial finds the boot server, or a seed, in its own network.
SERVER = "10.0.2.100"
# From where it is reached by SSH: what QEMU calls the computer that forwards to it.
CLIENT = "10.0.2.2"

FIRMWARE = Path("/usr/share/OVMF")
FIRMWARE_ARM = Path("/usr/share/AAVMF")


@dataclass(frozen=True)
class Firmware:
    """Read-only code and the variables' template that a machine gets its own copy of."""

    code: Path
    variables: Path
    package: str


@dataclass(frozen=True)
class Machine:
    """A machine on trial. `port` on 127.0.0.1 leads to `ssh_port`, its sshd's; `memory` in MiB.

    `medium` is what it starts from first, seen as `medium_as`; `spare` is a second disk. `once`: it ends when
    it would start again. `served` is a port of 127.0.0.1 that the machine reaches as port 80 of `SERVER`, and
    `boot_file` the URL that DHCP tells its network card, which then goes first. `serial_number`: by SMBIOS.
    `serials` are those of the two disks, `mac` is the network card's, empty for QEMU's own.
    """

    arch: str
    mode: Mode
    disk: Path
    seed: Path | None
    serial: Path
    monitor: Path
    port: int
    variables: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    memory: int = 1024
    kvm: bool = False
    medium: Path | None = None
    medium_as: Medium = "cd"
    spare: Path | None = None
    once: bool = False
    boot_file: str = ""
    served: int = 0
    ssh_port: int = 22
    serial_number: str = ""
    serials: tuple[str, str] = (SERIAL, SPARE_SERIAL)
    mac: str = ""


def firmware(arch: str, mode: Mode) -> Firmware | None:
    """What a mode needs besides QEMU itself; `secure` comes with Microsoft's keys, which sign the shim."""
    if mode in ("direct", "bios"):
        return None
    if arch == "amd64":
        if mode == "secure":
            return Firmware(FIRMWARE / "OVMF_CODE_4M.secboot.fd", FIRMWARE / "OVMF_VARS_4M.ms.fd", "ovmf")
        return Firmware(FIRMWARE / "OVMF_CODE_4M.fd", FIRMWARE / "OVMF_VARS_4M.fd", "ovmf")
    if mode == "secure":
        return Firmware(
            FIRMWARE_ARM / "AAVMF_CODE.ms.fd", FIRMWARE_ARM / "AAVMF_VARS.ms.fd", "qemu-efi-aarch64"
        )
    return Firmware(FIRMWARE_ARM / "AAVMF_CODE.fd", FIRMWARE_ARM / "AAVMF_VARS.fd", "qemu-efi-aarch64")


def check_mode(arch: str, mode: Mode) -> None:
    """UsageError for a machine type that cannot boot this way; BuildError for a missing firmware."""
    if mode == "bios" and not ARCHES[arch].bios:
        raise UsageError(f"{arch} has no BIOS", hint="choose uefi, secure or direct")
    needed = firmware(arch, mode)
    if needed is not None and not (needed.code.exists() and needed.variables.exists()):
        raise BuildError(
            f"the UEFI firmware {needed.code} is missing", hint=f"apt-get install {needed.package}"
        )


def qemu(machine: Machine) -> tuple[str, ...]:
    """The command line. The guest's network reaches nothing, and is reached by SSH from 127.0.0.1 alone."""
    arch = ARCHES[machine.arch]
    board = "virt,gic-version=max" if machine.arch == "arm64" else "q35"
    secure = machine.mode == "secure" and machine.arch == "amd64"
    words = [
        f"qemu-system-{arch.qemu}",
        "-no-user-config",
        "-nodefaults",
        "-machine",
        f"{board},smm=on" if secure else board,
        "-accel",
        "kvm" if machine.kvm else "tcg",
        "-cpu",
        "host" if machine.kvm else _emulated_cpu(machine.arch),
        "-m",
        str(machine.memory),
        "-display",
        "none",
        "-vga",
        "std" if machine.arch == "amd64" else "none",
        "-serial",
        f"file:{machine.serial}",
        "-qmp",
        f"unix:{machine.monitor},server=on,wait=off",
        "-device",
        "virtio-rng-pci",
        "-netdev",
        f"user,id=net0,restrict=on,{_forward(machine)}{_served(machine)}",
        "-device",
        _card(machine),
        "-drive",
        f"if=none,id=disk0,file={machine.disk},format=qcow2,cache=unsafe",
        "-device",
        f"virtio-blk-pci,drive=disk0,serial={machine.serials[0]},bootindex=2",
        *_drives(machine),
    ]
    found = firmware(machine.arch, machine.mode)
    if found is not None:
        if secure:
            # Only code in system management mode may write the variables that Secure Boot trusts.
            words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        words += [
            "-drive",
            f"if=pflash,unit=0,format=raw,readonly=on,file={found.code}",
            "-drive",
            f"if=pflash,unit=1,format=raw,file={machine.variables}",
        ]
    if machine.mode == "direct":
        words += [
            "-kernel",
            str(machine.kernel),
            "-initrd",
            str(machine.initrd),
            "-append",
            machine.cmdline,
        ]
    return tuple(words)


def _emulated_cpu(arch: str) -> str:
    # The architected way to sign pointers is by far the slowest thing that QEMU emulates.
    return "max,pauth-impdef=on" if arch == "arm64" else "max"


def _card(machine: Machine) -> str:
    words = "virtio-net-pci,netdev=net0" + (f",mac={machine.mac}" if machine.mac else "")
    return words + (",bootindex=1" if machine.boot_file else "")


def _forward(machine: Machine) -> str:
    return f"hostfwd=tcp:127.0.0.1:{machine.port}-:{machine.ssh_port}"


def _served(machine: Machine) -> str:
    """What the machine's network has besides: one server, and the file that DHCP names."""
    words = f",bootfile={machine.boot_file}" if machine.boot_file else ""
    if machine.served:
        words += f",guestfwd=tcp:{SERVER}:80-cmd:{sys.executable} -m builder.relay {machine.served}"
    return words


def _drives(machine: Machine) -> list[str]:
    """The disks and media beside the first disk."""
    words = ["-no-reboot"] if machine.once else []
    if machine.serial_number:
        words += ["-smbios", f"type=1,serial={machine.serial_number}"]
    if machine.seed is not None:
        words += ["-drive", f"if=none,id=seed0,file={machine.seed},format=raw,readonly=on"]
        words += ["-device", "virtio-blk-pci,drive=seed0"]
    if machine.spare is not None:
        words += ["-drive", f"if=none,id=disk1,file={machine.spare},format=qcow2,cache=unsafe"]
        words += ["-device", f"virtio-blk-pci,drive=disk1,serial={machine.serials[1]}"]
    if machine.medium is not None:
        kind = "media=cdrom," if machine.medium_as == "cd" else ""
        words += ["-drive", f"if=none,id=medium0,{kind}file={machine.medium},format=raw,readonly=on"]
        device = {
            "net": [],
            "cd": ["-device", "ide-cd,drive=medium0,bootindex=1"],
            "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=medium0,bootindex=1"],
            "disk": ["-device", "virtio-blk-pci,drive=medium0,bootindex=1"],
        }
        words += device[machine.medium_as]
    return words


# What a kernel without a root file system says at the end of its start.
PROBE_WORDS = "Unable to mount root fs"


def probe(arch: str, kernel: Path) -> tuple[str, ...]:
    """A machine that starts `kernel` under KVM, fails to find a root, and ends.

    /dev/kvm may exist and open, and still fail as soon as a guest runs: only a guest that ran tells.
    """
    return (
        f"qemu-system-{ARCHES[arch].qemu}",
        "-no-user-config",
        "-nodefaults",
        "-no-reboot",
        "-machine",
        "q35" if arch == "amd64" else "virt",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "512",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-kernel",
        str(kernel),
        "-append",
        "console=ttyS0 console=ttyAMA0 panic=-1",
    )
