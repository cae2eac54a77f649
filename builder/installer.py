"""The bare-metal installer: one ISO that carries a golden image and the seed of the host it is for."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from builder import medium
from builder.assemble import check_programs, check_space, run_tool
from builder.configured import Configured
from builder.cpio import write
from builder.disk import Layout, layout
from builder.diskrule import DiskRule
from builder.image import Image, build_image, configure, store_of
from builder.live import MIRROR_TOOLS, collect, entries, scripts
from builder.mirror import ROOM, tables
from builder.packed import ZSTD, pack_image
from builder.sandbox import Sandbox
from builder.scratch import scratch
from builder.spec import ARCHES, ImageSpec
from builder.store import digest, written_by
from freehold.console import Console
from freehold.errors import UsageError
from freehold.files import replace_atomically
from freehold.process import Runner

KIND = "installers"
After = Literal["reboot", "poweroff", "stay"]
AFTER: tuple[After, ...] = ("reboot", "poweroff", "stay")

ELTORITO_SCRIPT = """\
both "$1" "$2" "$3/root"
work=$3
shift 3
enter "$work/root"
cp "$work/early.cfg" "$work/root/tmp/early.cfg"
inside "$work/root" grub-mkimage --format=i386-pc-eltorito --output=/tmp/eltorito.img \\
    --config=/tmp/early.cfg --prefix=/boot/grub "$@"
cp "$work/root/tmp/eltorito.img" "$work/root/usr/lib/grub/i386-pc/boot_hybrid.img" "$work/"
leave "$work/root"
umount "$work/root"
rmdir "$work/root"
chmod a+r "$work"/*.img
"""


@dataclass(frozen=True)
class Installation:
    """What one medium does: write the image to the disk that `rule` means, make it `host` by its seed."""

    host: str
    seed: Mapping[str, bytes]
    rule: DiskRule
    after: After = "reboot"

    def __post_init__(self) -> None:
        for name in ("user-data", "meta-data"):
            if name not in self.seed:
                raise UsageError(f"the seed has no {name}", hint="`freehold image seed` writes a whole one")


@dataclass(frozen=True)
class Live:
    """Everything of a medium that is the same for every host: the packed image and what boots to write it.

    `disks` is how many it is for: two are a mirror.
    """

    key: str
    directory: Path
    disk: Layout
    image: Image
    disks: int = 1


def build_live(
    spec: ImageSpec,
    *,
    runner: Runner,
    console: Console,
    cache: Path | None = None,
    mirror: str = "",
    refresh: bool = False,
) -> Live:
    """The installer's own system and the packed image, from the cache or made now. Raises BuildError."""
    if not ARCHES[spec.arch].bios:
        raise UsageError(f"there is no installer for {spec.arch} yet", hint="amd64 has one")
    check_programs(("mcopy", "mkfs.vfat", "qemu-img", "mke2fs", "zstd", "xorriso"))
    image = build_image(spec, runner=runner, console=console, cache=cache, mirror=mirror, refresh=refresh)
    sandbox = Sandbox.here(runner)
    store = store_of(sandbox, cache)
    configured = configure(spec, sandbox, store, console, mirror)
    disk = layout(spec.size, ARCHES[spec.arch], configured.identity)
    writers = written_by("cpio", "installer", "live", "medium", "packed", "sandbox")
    key = digest(image.key, *scripts().values(), writers)
    tools = MIRROR_TOOLS if spec.raid1 else ()
    if refresh or store.find(KIND, key) is None:
        check_space(store.root, spec.size)
        with store.make(KIND, key, refresh=refresh) as work:
            if not work.done:
                with console.step("packing the image for the installer"):
                    _make_live(work.path, key, image, configured, disk, tools, sandbox, runner)
    found = store.find(KIND, key)
    assert found is not None
    return Live(key, found, disk, image, disks=2 if spec.raid1 else 1)


def _make_live(
    work: Path,
    key: str,
    image: Image,
    configured: Configured,
    disk: Layout,
    tools: tuple[str, ...],
    sandbox: Sandbox,
    runner: Runner,
) -> None:
    with scratch(work) as place:
        raw = place / "disk.raw"
        run_tool(runner, ("qemu-img", "convert", "-O", "raw", image.qcow2, raw))
        pack_image(raw, disk, work, runner)
    shutil.copyfile(image.kernel, work / "vmlinuz")
    _write_initrd(work, image, configured, tools, sandbox, runner)
    (work / "early.cfg").write_text(medium.early_cfg(key))
    sandbox.run(
        ELTORITO_SCRIPT,
        configured.packages.tree,
        configured.upper,
        work,
        *medium.BIOS_MODULES,
        epoch=configured.packages.epoch,
        what="making the medium's boot image",
    )
    _write_esp(work, configured, runner)


def _write_initrd(
    work: Path,
    image: Image,
    configured: Configured,
    tools: tuple[str, ...],
    sandbox: Sandbox,
    runner: Runner,
) -> None:
    place = work / "tools"
    place.mkdir()
    added = work / "added.cpio"
    with added.open("wb") as stream:
        write(stream, entries(collect(place, configured, sandbox, tools)))
    run_tool(runner, (*ZSTD, "-f", "-o", work / "added.zst", added))
    # The kernel unpacks one archive after the other; a later file takes an earlier one's place.
    with (work / "initrd.img").open("wb") as out:
        for part in (image.initrd, work / "added.zst"):
            data = part.read_bytes()
            out.write(data + b"\0" * (-len(data) % 4))
    sandbox.remove(place)
    for path in (added, work / "added.zst"):
        path.unlink()


def _write_esp(work: Path, configured: Configured, runner: Runner) -> None:
    epoch = configured.packages.epoch
    esp, stage = work / "esp.img", work / "esp"
    with esp.open("wb") as stream:
        stream.truncate(medium.ESP_SIZE)
    run_tool(runner, ("mkfs.vfat", "--invariant", "-F", "16", "-s", "1", "-n", "ESP", esp))
    (stage / "EFI/BOOT").mkdir(parents=True)
    (stage / "EFI/debian").mkdir()
    for name in ("BOOTX64.EFI", "grubx64.efi", "mmx64.efi"):
        shutil.copyfile(configured.export / name, stage / "EFI/BOOT" / name)
    shutil.copyfile(work / "early.cfg", stage / "EFI/debian/grub.cfg")
    for path in (stage, *stage.rglob("*")):
        os.utime(path, (epoch, epoch))
    run_tool(
        runner,
        ("mcopy", "-s", "-m", "-Q", "-i", esp, stage / "EFI", "::"),
        env={"TZ": "UTC", "MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": str(epoch)},
    )
    shutil.rmtree(stage)


def settings(live: Live, installation: Installation) -> str:
    """What the installer's script reads: shell assignments."""
    disk = live.disk
    values = {
        "HOST_NAME": installation.host,
        "IMAGE_NAME": f"{live.image.suite} {live.image.arch}, image {live.image.key}",
        "IMAGE_SIZE": str(disk.size),
        "ROOT_START": str(disk.root.start),
        "ROOT_SIZE": str(disk.root.size),
        "RULE_TEXT": installation.rule.text + (" (may be wiped)" if installation.rule.wipe else ""),
        "AFTER": installation.after,
        "DISKS": str(live.disks),
        "LEAST": str(disk.size if live.disks == 1 else disk.size + ROOM),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


PACKED = ("image.zst", "image.map", "table.zst", "table.map")


def carried(live: Live, installation: Installation) -> dict[str, bytes | Path]:
    """What the script finds on its medium: name → content, or the file that has it."""
    if installation.rule.disks != live.disks:
        raise UsageError(
            f"the rule means {installation.rule.disks} of the disks, and the image is for {live.disks}"
        )
    both = zip(("table-1", "table-2"), tables(live.disk), strict=True) if live.disks == 2 else ()
    return {
        **{name: text.encode() for name, text in both},
        **{name: live.directory / name for name in PACKED},
        "settings": settings(live, installation).encode(),
        "rule": installation.rule.lines().encode(),
        f"medium-{live.key}": b"",
        **{f"seed/{name}": data for name, data in installation.seed.items()},
    }


def write_installer(live: Live, installation: Installation, target: Path, *, runner: Runner) -> None:
    """Write the ISO for one host to `target`, whole or not at all.

    Readable by its owner only: a seed may hold keys.
    """
    epoch = _epoch(live)
    check_space(target.parent.absolute(), sum(path.stat().st_size for path in live.directory.iterdir()))
    with replace_atomically(target, mode=0o600) as temporary:
        stage = temporary.with_name(f"{temporary.name}.stage")
        try:
            _lay_out(stage, live, installation)
            for path in (stage, *stage.rglob("*")):
                os.utime(path, (epoch, epoch), follow_symlinks=False)
            run_tool(
                runner,
                medium.xorriso(
                    stage,
                    temporary,
                    hybrid=live.directory / "boot_hybrid.img",
                    esp=live.directory / "esp.img",
                    epoch=epoch,
                ),
                env={"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"},
            )
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _epoch(live: Live) -> int:
    return int(json.loads(live.image.manifest.read_text())["created"])


def _lay_out(stage: Path, live: Live, installation: Installation) -> None:
    folder = stage / "freehold"
    (folder / "seed").mkdir(parents=True)
    grub = stage / "boot/grub"
    grub.mkdir(parents=True)
    for name, content in carried(live, installation).items():
        _place(folder / name, content)
    for name in ("vmlinuz", "initrd.img"):
        _place(folder / name, live.directory / name)
    # xorriso writes the medium's layout into the boot image: a copy, not the layer's own.
    shutil.copyfile(live.directory / "eltorito.img", grub / "eltorito.img")
    (grub / "grub.cfg").write_text(medium.grub_cfg(live.key, installation.host, live.disk.identity))
    # From a CD the signed GRUB looks for its configuration on the CD itself.
    (stage / "EFI/debian").mkdir(parents=True)
    shutil.copyfile(live.directory / "early.cfg", stage / "EFI/debian/grub.cfg")


def _place(path: Path, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        # xorriso follows it (-f): hundreds of megabytes are not copied twice.
        path.symlink_to(content)
