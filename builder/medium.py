"""The installation medium: GRUB's menu, and the command that makes the hybrid ISO. Rendering only.

One image, four ways in: as a CD by El Torito under BIOS and UEFI, as a disk by a boot sector under BIOS and
by an EFI partition under UEFI. Facts: GRUB's `boot_hybrid.img`, `man xorrisofs` ("Bootable ISO images").
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from builder.boot import CONSOLES
from builder.disk import TYPE_ESP, Identity

LABEL = "FREEHOLD"
ESP_SIZE = 8 * 1024 * 1024

# Everything that GRUB needs before it can read the medium, and after: no module is loaded from it.
BIOS_MODULES = (
    "biosdisk",
    "iso9660",
    "part_gpt",
    "part_msdos",
    "ext2",
    "search",
    "search_fs_file",
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


def mark(key: str) -> str:
    """The path on the medium by which it is recognised."""
    return f"/freehold/medium-{key}"


def cmdline(key: str) -> str:
    """The kernel's command line. `boot=freehold` makes the initramfs run the installer."""
    return f"boot=freehold freehold={key} quiet loglevel=3 panic=0 {CONSOLES}"


def early_cfg(key: str) -> str:
    """What GRUB runs first, wherever it came from: find the medium."""
    return (
        f"search --no-floppy --file --set=root {mark(key)}\n"
        "set prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    )


def grub_cfg(key: str, host: str, ids: Identity) -> str:
    """The menu. A medium that stays in the machine starts the installed host: nothing is installed twice."""
    return f"""\
set timeout=2
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
search --no-floppy --file --set=root {mark(key)}
set medium=$root
search --no-floppy --fs-uuid --set=host {ids.filesystem}
if [ -n "$host" ]; then
    set default=host
else
    set default=install
fi
menuentry "Install {host}" --id install {{
    linux ($medium)/freehold/vmlinuz {cmdline(key)}
    initrd ($medium)/freehold/initrd.img
}}
if [ -n "$host" ]; then
menuentry "Start the installed {host}" --id host {{
    set root=$host
    set prefix=($host)/boot/grub
    configfile ($host)/boot/grub/grub.cfg
}}
fi
"""


def xorriso(stage: Path, target: Path, *, hybrid: Path, esp: Path, epoch: int) -> tuple[str | Path, ...]:
    """The command that writes the ISO from the directory `stage`. `epoch` in seconds dates the volume."""
    when = datetime.fromtimestamp(epoch, UTC).strftime("%Y%m%d%H%M%S00")
    return (
        "xorriso",
        "-no_rc",
        "-as",
        "mkisofs",
        "-quiet",
        "-iso-level",
        "3",
        "-r",
        # Files are links into the cache.
        "-f",
        "-V",
        LABEL,
        f"--modification-date={when}",
        "--set_all_file_dates",
        when,
        "--grub2-mbr",
        hybrid,
        "-partition_offset",
        "16",
        "-append_partition",
        "2",
        TYPE_ESP,
        esp,
        "-appended_part_as_gpt",
        "-c",
        "boot/boot.cat",
        "-b",
        "boot/grub/eltorito.img",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
        "-boot-info-table",
        "--grub2-boot-info",
        "-eltorito-alt-boot",
        "-e",
        "--interval:appended_partition_2:all::",
        "-no-emul-boot",
        "-o",
        target,
        stage,
    )
