"""The installer's initramfs: the golden image's own, with the tools and the script that install it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from builder.configured import Configured
from builder.cpio import Entry, copy, file, with_folders
from builder.sandbox import Sandbox

HERE = "freehold"
# Name → where Debian keeps it. The initramfs has klibc's small versions of some: these go first.
TOOLS = (
    "bash",
    "cat",
    "chmod",
    "dd",
    "mkdir",
    "mount",
    "readlink",
    "sha256sum",
    "sleep",
    "sort",
    "sync",
    "umount",
    "blockdev",
    "wipefs",
    "zstd",
)
# For a mirror of two disks; mdadm itself is in such an image's initramfs.
MIRROR_TOOLS = ("losetup", "sfdisk")
SCRIPTS = ("install.sh", "choose.sh", "mirror.sh")

# What initramfs-tools runs in the place of mounting a root (man initramfs-tools, "boot scripts").
BOOT_SCRIPT = f"""\
mountroot()
{{
    for argument in $(cat /proc/cmdline); do
        case "$argument" in
            freehold=*) medium="${{argument#freehold=}}" ;;
        esac
    done
    PATH=/{HERE}/tools:/usr/sbin:/usr/bin:/sbin:/bin
    export PATH
    exec /{HERE}/tools/bash /{HERE}/install.sh --main "medium-$medium"
}}
"""

# Copies each tool and the libraries it loads out of the tree; `list` says where they go.
COLLECT = """\
work=$3
both "$1" "$2" "$work/root"
shift 3
enter "$work/root"
inside "$work/root" bash -s -- "$@" > "$work/list" <<'END'
set -euo pipefail
for name in "$@"; do
    path=$(readlink -f "$(command -v "$name")")
    echo "/freehold/tools/$name $path"
    ldd "$path" | while read -r first second third rest; do
        for library in "$first" "$third"; do
            case "$library" in
                /*) echo "/usr/lib${library#*/lib} $(readlink -f "$library")" ;;
            esac
        done
    done
done
END
sort -u "$work/list" -o "$work/list"
number=0
while read -r target path; do
    number=$((number + 1))
    install -m 644 "$work/root$path" "$work/$number"
done < "$work/list"
leave "$work/root"
umount "$work/root"
rmdir "$work/root"
"""


def scripts() -> dict[str, bytes]:
    """The installer itself: name → content."""
    folder = resources.files("builder").joinpath("data")
    return {name: folder.joinpath(name).read_bytes() for name in SCRIPTS}


def collect(work: Path, configured: Configured, sandbox: Sandbox, more: tuple[str, ...] = ()) -> list[Entry]:
    """The tools and their libraries out of the image's tree, copied below `work` (an empty directory)."""
    sandbox.run(
        COLLECT,
        configured.packages.tree,
        configured.upper,
        work,
        *TOOLS,
        *more,
        epoch=configured.packages.epoch,
        what="collecting the installer's tools",
    )
    lines = (work / "list").read_text().splitlines()
    targets = [line.split()[0].lstrip("/") for line in lines]
    return [copy(target, work / str(number), 0o755) for number, target in enumerate(targets, 1)]


def entries(tools: list[Entry], more: tuple[Entry, ...] = ()) -> list[Entry]:
    """What is added to the image's initramfs."""
    return with_folders(
        [
            *tools,
            *(file(f"{HERE}/{name}", data) for name, data in scripts().items()),
            file("scripts/freehold", BOOT_SCRIPT.encode()),
            *more,
        ]
    )
