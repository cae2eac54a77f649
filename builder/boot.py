"""How the image boots: GRUB under BIOS and UEFI, the kernel's command line, fstab. Rendering only.

Facts about GRUB's BIOS boot sectors are from `grub-core/boot/i386/pc/boot.S`, `diskboot.S` and
`include/grub/i386/pc/boot.h`, `include/grub/offsets.h` of GRUB 2.06 and 2.12.
"""

from __future__ import annotations

import struct

from builder.disk import BIOS_SIZE, SECTOR, Identity
from builder.spec import Arch

# In boot.img: the sector of core.img (8 bytes), the drive to read it from (0xff: the one booted from).
BOOT_KERNEL_SECTOR = 0x5C
BOOT_DRIVE = 0x64
# A jump over the work-around for BIOSes that pass a wrong drive; on hard disks two no-ops take its place.
BOOT_DRIVE_CHECK = 0x66
# In core.img's first sector: where the rest is (start 8 bytes, length 2, segment 2), at its end.
CORE_BLOCKLIST = SECTOR - 12
CORE_SEGMENT = 0x820
# The master boot record keeps its disk signature and partition table (GPT's protective entry) from here on.
BOOT_CODE_SIZE = 440

# What core.img needs to find /boot/grub on the root; everything else it loads from there.
BIOS_MODULES = (
    "biosdisk",
    "part_gpt",
    "ext2",
    "search_fs_uuid",
    "normal",
    "linux",
    "configfile",
    "echo",
    "test",
    "serial",
    "terminal",
    "minicmd",
    "reboot",
    "halt",
    "gzio",
)

CONSOLES = "console=tty0 console=ttyS0,115200n8"


def consoles(arch: Arch) -> str:
    """The kernel's consoles: the screen and the first serial port, whose name depends on the machine type."""
    return CONSOLES if arch.bios else "console=tty0 console=ttyAMA0,115200n8"


def _terminals(arch: Arch) -> str:
    # GRUB drives a PC's serial port itself; elsewhere the firmware's console is the serial port already.
    if not arch.bios:
        return ""
    return "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n"


def cmdline(ids: Identity, arch: Arch) -> str:
    """The kernel's command line; the same under GRUB and for direct boot."""
    return f"root=UUID={ids.filesystem} ro {consoles(arch)}"


def fstab(ids: Identity) -> str:
    """The ESP is mounted when it is looked at (a GRUB update does), so that no boot waits for it."""
    return (
        f"UUID={ids.filesystem} / ext4 errors=remount-ro,x-systemd.growfs 0 1\n"
        f"UUID={ids.volume_id} /boot/efi vfat "
        "umask=0077,nofail,noauto,x-systemd.automount,x-systemd.idle-timeout=60 0 0\n"
    )


def grub_cfg(ids: Identity, version: str, arch: Arch) -> str:
    """The first /boot/grub/grub.cfg; `update-grub` on the host replaces it with the next kernel."""
    return f"""\
# Written when the image was built; update-grub replaces it.
set default=0
set timeout=1
{_terminals(arch)}search --no-floppy --fs-uuid --set=root {ids.filesystem}
menuentry "Debian GNU/Linux, Linux {version}" {{
    linux /boot/vmlinuz-{version} {cmdline(ids, arch)}
    initrd /boot/initrd.img-{version}
}}
"""


def esp_grub_cfg(ids: Identity) -> str:
    """The stub beside the signed GRUB: find the root, go on there. Same form as grub-install writes."""
    return (
        f"search.fs_uuid {ids.filesystem} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    )


def grub_defaults(arch: Arch) -> str:
    """/etc/default/grub.d/freehold.cfg: what `update-grub` on the host has to keep."""
    serial = 'GRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
    return f"""\
GRUB_TIMEOUT=1
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="{consoles(arch)}"
{serial if arch.bios else ""}GRUB_DISABLE_OS_PROBER=true
"""


def grub_early_cfg(ids: Identity) -> str:
    """What core.img runs before its prefix is known to be right."""
    return f"search.fs_uuid {ids.filesystem} root\nset prefix=($root)/boot/grub\n"


def bios_boot_code(boot_img: bytes, core_sector: int) -> bytes:
    """The first 440 bytes of the disk: boot.img made to load core.img from sector `core_sector`."""
    if len(boot_img) != SECTOR or boot_img[510:] != b"\x55\xaa":
        raise ValueError("boot.img is not a boot sector of 512 bytes")
    code = bytearray(boot_img)
    struct.pack_into("<Q", code, BOOT_KERNEL_SECTOR, core_sector)
    struct.pack_into("<B", code, BOOT_DRIVE, 0xFF)
    code[BOOT_DRIVE_CHECK : BOOT_DRIVE_CHECK + 2] = b"\x90\x90"
    return bytes(code[:BOOT_CODE_SIZE])


def bios_core(core_img: bytes, core_sector: int) -> bytes:
    """core.img for `core_sector` on: its first sector told where the rest is; padded to whole sectors."""
    sectors = -(-len(core_img) // SECTOR)
    if sectors < 2 or sectors * SECTOR > BIOS_SIZE:
        raise ValueError(f"core.img of {len(core_img)} bytes does not fit the BIOS boot partition")
    code = bytearray(core_img.ljust(sectors * SECTOR, b"\0"))
    struct.pack_into("<QHH", code, CORE_BLOCKLIST, core_sector + 1, sectors - 1, CORE_SEGMENT)
    return bytes(code)
