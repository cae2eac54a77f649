"""A medium laid out as Debian's own CDs are, out of packages: a package mirror has no ISO.

Kernel, installer, menus and what boots them (isolinux, shim, GRUB) are Debian's: they come from the package
of the netboot images, and go where debian-cd puts them. A CD's initrd differs from theirs by drivers, which
are the kernel package's, and by cdrom-detect, for which a few lines stand in: not every mirror has udebs.
For want of the others the installation ends once it has read its answers.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from builder import cpio
from builder.assemble import run_tool
from freehold.process import Runner

SUITE = "trixie"
PACKAGES = (
    "debian-installer-13-netboot-amd64",
    "isolinux",
    "shim-signed",
    "grub-efi-amd64-signed",
)
NETBOOT = "./usr/lib/debian-installer/images/13/amd64"
TEXT = f"{NETBOOT}/text/debian-installer/amd64"
# In the order in which each finds what it needs.
DRIVERS = ("cdrom", "sr_mod", "libata", "libahci", "ahci", "isofs")
# What the netboot images' menus call things, and what a CD's do.
NAMES = {
    "debian-installer/amd64/boot-screens/": "",
    "syslinux.cfg": "isolinux.cfg",
    "/debian-installer/amd64/": "debian-installer/amd64/",
    "debian-installer/amd64/linux": "/install.amd/vmlinuz",
    "debian-installer/amd64/": "/install.amd/",
}

# The default of a CD, which no netboot image has: it offers either the one or the other.
GRAPHICAL = "vga=788 initrd=/install.amd/gtk/initrd.gz"
ISOLINUX = {
    "gtk.cfg": f"""\
default installgui
label installgui
	menu label ^Graphical install
	menu default
	kernel /install.amd/vmlinuz
	append {GRAPHICAL} --- quiet\x20
""",
    "spkgtk.cfg": f"""\
label installspk
	menu label Install with ^speech synthesis
	kernel /install.amd/vmlinuz
	append {GRAPHICAL} speakup.synth=soft --- quiet\x20
timeout 300
ontimeout /install.amd/vmlinuz {GRAPHICAL} speakup.synth=soft --- quiet\x20
menu autoboot The speech installer starts in # second{{,s}} unless a key is pressed
""",
}
GRUB = b"""\
menuentry --hotkey=g 'Graphical install' {
    set background_color=black
    linux    /install.amd/vmlinuz vga=788 --- quiet
    initrd   /install.amd/gtk/initrd.gz
}
menuentry"""
# What the signed GRUB reads first, beside itself.
MARK = ".disk/id/11111111-2222-3333-4444-555555555555"
FIRST = f"""\
search --file --set=root /{MARK}
set prefix=($root)/boot/grub
source $prefix/${{grub_cpu}}-efi/grub.cfg
"""

# Debian's cdrom-detect is a step of the installer's menu, before the one that reads answers from a file.
STEP = """\
Package: cdrom-detect
Status: install ok unpacked
Version: 1
Architecture: all
Installer-Menu-Item: 1300
Description: Detect and mount installation media

"""
DETECT = f"""\
#!/bin/sh
exec > /var/log/cdrom-detect 2>&1
modprobe scsi_mod
for driver in {" ".join(DRIVERS)}; do insmod /drivers/$driver.ko; done
update-dev --settle
mkdir -p /cdrom
for device in $(list-devices cd; list-devices disk); do
    mount -t iso9660 -o ro,exec "$device" /cdrom && [ -e /cdrom/.disk/info ] && exit 0
    umount /cdrom
done
exit 1
"""
REGISTER = "#!/bin/sh\ncat /step >> /var/lib/dpkg/status\n"


def write_medium(target: Path, work: Path, runner: Runner) -> None:
    """Write the ISO to `target`; what it is made of goes into `work`, a new directory."""
    tree = work / "tree"
    tree.mkdir(parents=True)
    with _packages(PACKAGES, work / "packages.tar", runner) as packages:
        installer = gzip.decompress(_read(packages, f"{TEXT}/initrd.gz"))
        # Secure Boot takes no driver of another build, and the suite's security updates are newer.
        builds = {found[1].decode() for found in re.finditer(rb"usr/lib/modules/(\d[^/\0]*)/", installer)}
        with _packages([f"linux-image-{build}" for build in builds], work / "kernel.tar", runner) as drivers:
            added = _added(drivers)
        for path, data in _files(packages, added):
            place = tree / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    efi = tree / "boot/grub/efi.img"
    run_tool(runner, ("mkfs.vfat", "--invariant", "-i", "deb00001", "-C", efi, "8192"))
    run_tool(runner, ("mcopy", "-s", "-i", efi, tree / "EFI", "::"))
    boot_code = (tree / "isohdpfx.bin").rename(work / "isohdpfx.bin")
    with (tree / "md5sum.txt").open("w") as sums:
        for file in sorted(tree.rglob("*")):
            if file.is_file() and "isolinux" not in file.parts and file.name != "md5sum.txt":
                sums.write(f"{hashlib.md5(file.read_bytes()).hexdigest()}  ./{file.relative_to(tree)}\n")
    run_tool(runner, _xorriso(tree, boot_code, target))
    shutil.rmtree(work)


def _packages(names: Sequence[str], archive: Path, runner: Runner) -> tarfile.TarFile:
    """The files of packages and of what they depend on."""
    options = ('Apt::Install-Recommends "false"', 'Acquire::Languages "none"')
    words = ("--variant=extract", "--architectures=amd64", *(f"--aptopt={option}" for option in options))
    run_tool(runner, ("mmdebstrap", *words, f"--include={','.join(names)}", SUITE, archive))
    return tarfile.open(archive)


def _read(packages: tarfile.TarFile, name: str) -> bytes:
    found = packages.extractfile(name)
    assert found is not None, name
    return found.read()


def _files(packages: tarfile.TarFile, added: bytes) -> Iterator[tuple[str, bytes]]:
    """Each file of the medium, as path and content."""
    read = partial(_read, packages)
    yield "install.amd/vmlinuz", read(f"{TEXT}/linux")
    yield "install.amd/initrd.gz", read(f"{TEXT}/initrd.gz") + added
    yield "install.amd/gtk/initrd.gz", read(f"{NETBOOT}/gtk/debian-installer/amd64/initrd.gz") + added
    yield ".disk/info", b'Debian GNU/Linux 13 "Trixie" - Unofficial amd64 NETINST\n'
    yield ".disk/cd_type", b"not_complete\n"
    yield MARK, b""
    yield "isohdpfx.bin", read("./usr/lib/ISOLINUX/isohdpfx.bin")
    yield "isolinux/isolinux.bin", read("./usr/lib/ISOLINUX/isolinux.bin")
    for name in packages.getnames():
        folder, _, file = name.rpartition("/")
        if folder == f"{TEXT}/boot-screens":
            data = read(name)
            yield f"isolinux/{_renamed(file)}", _menu(data) if file.endswith(".cfg") else data
    yield from ((f"isolinux/{file}", text.encode()) for file, text in ISOLINUX.items())
    yield "boot/grub/font.pf2", read(f"{TEXT}/grub/font.pf2")
    # The modules are in the signed GRUB already.
    yield "boot/grub/x86_64-efi/grub.cfg", b"source /boot/grub/grub.cfg\n"
    yield "boot/grub/grub.cfg", _menu(read(f"{TEXT}/grub/grub.cfg")).replace(b"menuentry", GRUB, 1)
    yield "EFI/boot/bootx64.efi", read("./usr/lib/shim/shimx64.efi.signed")
    yield "EFI/boot/grubx64.efi", read("./usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
    yield "EFI/debian/grub.cfg", FIRST.encode()


def _renamed(text: str) -> str:
    for before, after in NAMES.items():
        text = text.replace(before, after)
    return text


def _menu(data: bytes) -> bytes:
    return _renamed(data.decode()).encode()


def _added(kernel: tarfile.TarFile) -> bytes:
    """What a CD's initrd has besides, as an archive of its own: the kernel unpacks one after the other."""
    stream = io.BytesIO()
    packed = {Path(name).name: name for name in kernel.getnames() if "/modules/" in name}
    drivers = {name: lzma.decompress(_read(kernel, packed[f"{name}.ko.xz"])) for name in DRIVERS}
    files = [
        *(cpio.file(f"drivers/{name}.ko", data) for name, data in drivers.items()),
        cpio.file("step", STEP.encode()),
        cpio.file("var/lib/dpkg/info/cdrom-detect.postinst", DETECT.encode(), 0o755),
        cpio.file("usr/lib/debian-installer-startup.d/S05step", REGISTER.encode(), 0o755),
    ]
    cpio.write(stream, cpio.with_folders(files))
    return gzip.compress(stream.getvalue(), mtime=0)


def _xorriso(tree: Path, boot_code: Path, target: Path) -> tuple[str | Path, ...]:
    """debian-cd's options: a CD and a disk, by BIOS and by UEFI."""
    return (
        *("xorriso", "-no_rc", "-as", "mkisofs", "-quiet", "-r", "-V", "Debian 13.0.0 amd64 n", "-o", target),
        *("-J", "-joliet-long", "-cache-inodes", "-isohybrid-mbr", boot_code),
        *("-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-boot-load-size", "4"),
        *("-boot-info-table", "-no-emul-boot", "-eltorito-alt-boot", "-e", "boot/grub/efi.img"),
        *("-no-emul-boot", "-isohybrid-gpt-basdat", "-isohybrid-apm-hfsplus", tree),
    )
