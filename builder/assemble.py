"""The disk layer: from layers of files to a partitioned disk image. No loop device, no mount outside."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from builder import boot
from builder.configured import Configured
from builder.disk import SECTOR, Layout, mke2fs, mkfs_vfat, sfdisk_script
from builder.inodes import set_times
from builder.sandbox import Sandbox
from builder.spec import ARCHES, Arch
from builder.store import disk_free
from freehold.environment import which
from freehold.errors import BuildError, ProcessError
from freehold.process import Completed, Runner

# mke2fs takes creation times from here; what it copies keeps the tree's own.
ROOT_SCRIPT = """\
lower=$1 upper=$2 root=$3
shift 3
both "$lower" "$upper" "$root"
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH MKE2FS_CONFIG=/dev/null "$@"
umount "$root"
rmdir "$root"
"""

PROGRAMS = {
    "arch-test": "arch-test",
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "qemu-img": "qemu-utils",
    "zstd": "zstd",
    "xorriso": "xorriso",
}
# What a disk image needs; the others ask for theirs by name.
DISK = ("mmdebstrap", "unshare", "mke2fs", "sfdisk", "mkfs.vfat", "mcopy", "qemu-img")


def check_programs(programs: Iterable[str] = DISK, find: Callable[[str], Path | None] = which) -> None:
    """BuildError that names every package whose program is missing, before any work starts."""
    missing = sorted({PROGRAMS[program] for program in programs if find(program) is None})
    if missing:
        raise BuildError(
            f"building images needs {', '.join(missing)}", hint=f"apt-get install {' '.join(missing)}"
        )


def check_foreign(
    arch: str,
    machine: str = platform.machine(),
    registered: Path = Path("/proc/sys/fs/binfmt_misc"),
    find: Callable[[str], Path | None] = which,
) -> None:
    """BuildError where this machine cannot run programs of `arch`: packages run some while they install.

    `registered` is where the kernel lists the interpreters of foreign programs.
    """
    qemu = ARCHES[arch].qemu
    if qemu == machine:
        return
    if not (registered / f"qemu-{qemu}").exists():
        raise BuildError(
            f"programs of {arch} do not run on this machine ({machine}), so its packages cannot be installed",
            hint="apt-get install qemu-user-static binfmt-support arch-test, or build on such a machine",
        )
    # mmdebstrap asks it whether they do.
    check_programs(("arch-test",), find)


def check_space(path: Path, needed: int) -> None:
    """BuildError when fewer than `needed` bytes are free where `path` is."""
    free = disk_free(path)
    if free < needed:
        raise BuildError(
            f"{path} has {free / 1e9:.1f} GB free, and the build needs {needed / 1e9:.1f} GB",
            hint="free some disk space, or set FREEHOLD_CACHE to a place that has it",
        )


def make_raw(
    raw: Path, disk: Layout, configured: Configured, arch: Arch, *, sandbox: Sandbox, runner: Runner
) -> None:
    """Write the whole disk into the sparse file `raw`: table, boot code, ESP, root."""
    with raw.open("wb") as stream:
        stream.truncate(disk.size)
    run_tool(runner, ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", raw), stdin=sfdisk_script(disk))
    if disk.bios is not None:
        _write_bios(raw, disk.bios.start, configured.export)
    _write_esp(raw, disk, configured, arch, runner)
    root = raw.parent / "root"
    sandbox.run(
        ROOT_SCRIPT,
        configured.packages.tree,
        configured.upper,
        root,
        *mke2fs(disk, str(raw), str(root)),
        epoch=configured.packages.epoch,
        what="writing the root file system",
    )
    set_times(raw, disk.root.start, configured.packages.epoch)


def _write_bios(raw: Path, start: int, export: Path) -> None:
    sector = start // SECTOR
    with raw.open("r+b") as stream:
        stream.write(boot.bios_boot_code((export / "boot.img").read_bytes(), sector))
        stream.seek(start)
        stream.write(boot.bios_core((export / "core.img").read_bytes(), sector))


def _write_esp(raw: Path, disk: Layout, configured: Configured, arch: Arch, runner: Runner) -> None:
    epoch = configured.packages.epoch
    run_tool(runner, mkfs_vfat(disk, str(raw)))
    stage = raw.parent / "esp"
    upper = arch.efi.upper()
    # The removable path is what a firmware without boot entries starts; the signed GRUB looks for its
    # configuration below EFI/debian.
    copies = {
        f"EFI/BOOT/BOOT{upper}.EFI": f"BOOT{upper}.EFI",
        f"EFI/BOOT/grub{arch.efi}.efi": f"grub{arch.efi}.efi",
        f"EFI/BOOT/mm{arch.efi}.efi": f"mm{arch.efi}.efi",
        f"EFI/debian/shim{arch.efi}.efi": f"BOOT{upper}.EFI",
        f"EFI/debian/grub{arch.efi}.efi": f"grub{arch.efi}.efi",
        f"EFI/debian/mm{arch.efi}.efi": f"mm{arch.efi}.efi",
    }
    for target, source in copies.items():
        path = stage / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(configured.export / source, path)
    (stage / "EFI/debian/grub.cfg").write_text(boot.esp_grub_cfg(disk.identity))
    for path in (stage, *stage.rglob("*")):
        os.utime(path, (epoch, epoch))
    run_tool(
        runner,
        ("mcopy", "-s", "-m", "-Q", "-i", f"{raw}@@{disk.esp.start}", stage / "EFI", "::"),
        env={"TZ": "UTC", "MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": str(epoch)},
    )
    shutil.rmtree(stage)


def root_dump(raw: Path, disk: Layout, runner: Runner) -> str:
    """What `dumpe2fs` says about the root partition of a raw disk; BuildError where it is none.

    Since 1.47.1 it takes `?offset=` for a tag to look up, so it gets a sparse copy of the metadata.
    """
    with tempfile.TemporaryDirectory(dir=raw.parent, prefix="metadata-") as folder:
        copy = Path(folder) / "root"
        run_tool(runner, ("e2image", "-r", "-o", str(disk.root.start), raw, copy))
        return run_tool(runner, ("dumpe2fs", copy)).stdout


def run_tool(
    runner: Runner,
    argv: tuple[str | Path, ...],
    *,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
) -> Completed:
    """Run a program of `PROGRAMS`; BuildError where it fails."""
    try:
        return runner.run(argv, stdin=stdin, env=env, timeout=900)
    except ProcessError as exc:
        raise BuildError(str(exc), hint=exc.hint, details=exc.details) from exc
