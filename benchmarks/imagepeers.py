"""What other builders take for an image of the same packages from the same mirror.

Each peer does the least that an image needs and starts as Freehold does, with nothing downloaded: packages
into a tree, the tree into an ext4, that into a compressed qcow2. None configures a host, and none is booted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.packages import pruned

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Task:
    """What every builder is asked for. `size` in bytes; `mirror` serves `suite`."""

    suite: str
    packages: tuple[str, ...]
    mirror: str
    size: int


def system_mirror() -> str:
    """The first mirror of this machine's apt configuration; a peer's own default need not answer here."""
    argv = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    if not found:
        raise SystemExit("apt knows no mirror here: give one with --mirror")
    return found[0]


def debootstrap(task: Task, place: Path) -> None:
    """debootstrap for the base, apt inside it for the rest: the least that an image by these two can take."""
    tree, raw = place / "tree", place / "disk.raw"
    base = ("debootstrap", "--variant=minbase", "--include=ca-certificates", task.suite, tree, task.mirror)
    _run(base)
    excluded = "".join(f"{option}\n" for option in pruned())
    (tree / "etc/dpkg/dpkg.cfg.d/docs").write_text(excluded)
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    install = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *task.packages)
    steps = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    _run(
        ("unshare", "--mount", "--pid", "--fork", "sh", "-c", steps, tree, *install),
        {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    _run(("mke2fs", "-q", "-t", "ext4", "-d", tree, raw, f"{task.size // 1024}k"))
    _compress(raw, place / "disk.qcow2")


def mkosi(task: Task, place: Path) -> None:
    """mkosi with an empty cache; not bootable: a boot loader and a second initrd would only add to it."""
    sources = place / "manager/etc/apt/sources.list.d"
    sources.mkdir(parents=True)
    # mkosi would add the debug archive, which many mirrors do not carry, and the sources.
    (sources / "mkosi.sources").write_text(
        f"Types: deb\nURIs: {task.mirror}\nSuites: {task.suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    folders = {name: place / name for name in ("configuration", "work", "cache", "out")}
    for folder in folders.values():
        folder.mkdir()
    _run(
        (
            "mkosi",
            f"--directory={folders['configuration']}",
            "--distribution=debian",
            f"--release={task.suite}",
            "--format=disk",
            "--bootable=no",
            "--with-docs=no",
            f"--package-manager-tree={place / 'manager'}",
            f"--package={','.join(task.packages)}",
            f"--workspace-dir={folders['work']}",
            f"--package-cache-dir={folders['cache']}",
            f"--output-dir={folders['out']}",
            "build",
        )
    )
    _compress(folders["out"] / "image.raw", place / "disk.qcow2")


def diskimage_builder(task: Task, place: Path) -> None:
    """diskimage-builder's own Debian, which stands on debootstrap; one file system, no boot loader."""
    _run(
        (
            *("unshare", "--mount", "--pid", "--fork", "--mount-proc"),
            *("disk-image-create", "-t", "raw", "-o", place / "image"),
            *("-p", ",".join(task.packages), "debian-minimal"),
        ),
        {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "DIB_RELEASE": task.suite,
            "DIB_DISTRIBUTION_MIRROR": task.mirror,
            "DIB_APT_SOURCES_CONF": f"default:deb {task.mirror} {task.suite} main",
            "DIB_IMAGE_CACHE": str(place / "cache"),
        },
    )
    _compress(place / "image.raw", place / "disk.qcow2")


PEERS = {"mkosi": mkosi, "diskimage-builder": diskimage_builder, "debootstrap": debootstrap}
PROGRAMS = {
    "mkosi": ("mkosi",),
    "diskimage-builder": ("disk-image-create", "sudo"),
    "debootstrap": ("debootstrap",),
}
# Freehold's full build takes at most this share of the peer's time.
LIMITS = {"mkosi": 0.6, "diskimage-builder": 0.5, "debootstrap": 0.5}


def available() -> list[str]:
    """The peers that are installed."""
    return [name for name in PEERS if all(map(shutil.which, PROGRAMS[name]))]


def _compress(raw: Path, target: Path) -> None:
    """As their users do it, with the compression that costs least; `-W` would be faster, in any order."""
    compression = ("-c", "-m", "8", "-o", "compression_type=zstd")
    _run(("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *compression, raw, target))


def _run(argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, errors="replace", env=environment
    )
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
