"""The configured layer: what the recipe and the boot equipment change in the packages layer's tree."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import boot, system
from builder.disk import Identity, identity, layout
from builder.payload import Payload, TreeFile
from builder.rootfs import CLAMP, Packages
from builder.sandbox import Sandbox
from builder.spec import ARCHES, ImageSpec
from builder.store import Store, digest, written_by
from freehold.console import Console

KIND = "configured"

SCRIPT = """\
work=$1 lower=$2
root=$work/root export=$work/export
mkdir "$export"
touch --date='2 seconds ago' "$work/.started"
overlay "$lower" "$work/upper" "$work/overlay" "$root"
tar --extract --file="$work/files.tar" --directory="$root" --no-same-owner --preserve-permissions
rm "$work/files.tar"
shift 2
while [ $# -gt 0 ]; do
    install -D -m 755 -- "$1" "$root$2"
    shift 2
done
enter "$root"
inside "$root" bash -s < "$work/enable.sh"
inside "$root" bash -s < "$work/recipe.sh"
version=$(basename "$root"/boot/vmlinuz-*)
version=${version#vmlinuz-}
printf '%s' "$version" > "$export/version"
inside "$root" bash -s "$version" < "$work/boot.sh"
cp "$root/tmp/boot/"* "$export/"
cp "$root/boot/vmlinuz-$version" "$export/vmlinuz"
cp "$root/boot/initrd.img-$version" "$export/initrd.img"
inside "$root" bash -s < "$work/clean.sh"
inside "$root" bash -s < "$work/mark.sh"
leave "$root"
umount "$root"
find "$work/upper" -newer "$work/.started" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
rmdir "$root"
rm -rf "$work/overlay" "$work"/*.sh
chmod -R a+rX "$export"
"""


@dataclass(frozen=True)
class Configured:
    """A finished configured layer: `upper` on top of the packages' tree; `export` holds what boots it."""

    key: str
    packages: Packages
    upper: Path
    export: Path
    identity: Identity
    version: str

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.export / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initial RAM disk."""
        return self.export / "initrd.img"


def boot_script(spec: ImageSpec, ids: Identity) -> str:
    """Runs in the tree with the kernel's version as `$1`; leaves in /tmp/boot what goes outside the root."""
    arch = ARCHES[spec.arch]
    disk = layout(spec.size, arch, ids)
    efi, upper = arch.efi, arch.efi.upper()
    lines = [
        "set -eu",
        "mkdir -p /tmp/boot",
        f"cp /usr/lib/shim/shim{efi}.efi.signed /tmp/boot/BOOT{upper}.EFI",
        f"cp /usr/lib/shim/mm{efi}.efi.signed /tmp/boot/mm{efi}.efi",
        f"cp /usr/lib/grub/{arch.grub_efi}-signed/grub{efi}.efi.signed /tmp/boot/grub{efi}.efi",
        f"version=$1; cat > /boot/grub/grub.cfg <<'END'\n{boot.grub_cfg(ids, '@VERSION@', arch)}END",
        'sed -i "s/@VERSION@/$version/g" /boot/grub/grub.cfg',
        "grub-editenv /boot/grub/grubenv create",
    ]
    if disk.bios is not None:
        lines += [
            "mkdir -p /boot/grub/i386-pc",
            "cp /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst /boot/grub/i386-pc/",
            f"cat > /tmp/early.cfg <<'END'\n{boot.grub_early_cfg(ids)}END",
            "grub-mkimage --format=i386-pc --output=/tmp/boot/core.img --config=/tmp/early.cfg "
            f"--prefix='(,gpt{disk.number(disk.root)})/boot/grub' {' '.join(boot.BIOS_MODULES)}",
            "cp /usr/lib/grub/i386-pc/boot.img /tmp/boot/boot.img",
        ]
    return "\n".join(lines) + "\n"


def make_configured(
    spec: ImageSpec,
    payload: Payload,
    packages: Packages,
    *,
    sandbox: Sandbox,
    store: Store,
    console: Console,
    refresh: bool = False,
) -> Configured:
    """The layer, from the cache or made now. BuildError where a step in the tree fails."""
    key = configured_key(spec, payload, packages)
    ids = identity(key)
    if refresh or store.find(KIND, key) is None:
        with store.make(KIND, key, refresh=refresh) as work:
            if not work.done:
                with console.step("applying the host profile"):
                    _configure(work.path, spec, payload, packages, ids, sandbox, console)
    path = store.find(KIND, key)
    assert path is not None
    version = (path / "export" / "version").read_text()
    return Configured(key, packages, path / "upper", path / "export", ids, version)


def configured_key(spec: ImageSpec, payload: Payload, packages: Packages) -> str:
    """A digest of what goes in. The identifiers of the disk are derived from it."""
    blank = identity("")
    files = system.system_files(spec, blank)
    return digest(
        written_by("configured", "sandbox"),
        packages.key,
        packages.epoch,
        payload.key(),
        spec.size,
        [[file.path, file.mode, file.data.decode()] for file in files],
        [SCRIPT, CLAMP, system.enable_script(spec), system.CLEAN, system.MARK, boot_script(spec, blank)],
    )


def _configure(
    work: Path,
    spec: ImageSpec,
    payload: Payload,
    packages: Packages,
    ids: Identity,
    sandbox: Sandbox,
    console: Console,
) -> None:
    files = (*system.system_files(spec, ids), *payload.files)
    (work / "files.tar").write_bytes(tree_tar(files, packages.epoch))
    scripts = {
        "enable": system.enable_script(spec),
        "recipe": payload.script,
        "boot": boot_script(spec, ids),
        "clean": system.CLEAN,
        "mark": system.MARK,
    }
    for name, text in scripts.items():
        (work / f"{name}.sh").write_text(text)
    binaries: list[str | Path] = []
    for target, source in sorted(payload.binaries.items()):
        binaries += [source, target]
    sandbox.run(
        SCRIPT,
        work,
        packages.tree,
        *binaries,
        epoch=packages.epoch,
        what="applying the host profile to the image",
        on_line=lambda line: console.detail(f"  {line}"),
    )


def tree_tar(files: Sequence[TreeFile], epoch: int) -> bytes:
    """The files as a tar archive, owned by root, dated `epoch`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(files, key=lambda file: file.path):
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode, entry.mtime = len(file.data), file.mode, epoch
            archive.addfile(entry, io.BytesIO(file.data))
    return buffer.getvalue()
