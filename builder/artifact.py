"""What a finished artifact is, told by its own bytes; and what is inside that a trial has to know."""

from __future__ import annotations

import re
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from builder.assemble import run_tool
from builder.cpio import read
from builder.formats import root_start
from builder.medium import LABEL
from builder.netboot import SCRIPT
from builder.seeded import FOLDER
from builder.spec import parse_suite
from freehold.errors import BuildError, UsageError
from freehold.process import Runner

Kind = Literal["image", "qcow2", "raw", "box", "installer", "netboot"]
SEED_NAMES = ("user-data", "meta-data", "network-config", "vendor-data")
# ECMA-119: the first volume descriptor is sector 16; the volume's name stands 40 bytes into it.
ISO_MAGIC, ISO_NAME = 16 * 2048 + 1, 16 * 2048 + 40
TESTED = (
    "what can be: an image's directory, a qcow2 or raw disk, an installer's ISO, a netboot directory, a box"
)
# How boot.ipxe tells one host from another.
CARD = re.compile(r"/mac\} (\S+) && goto (\S+) \|\|")


def recognise(path: Path) -> Kind:
    """What kind of artifact `path` is; UsageError, with the reason, for what cannot be tested."""
    if not path.exists():
        raise UsageError(f"there is no {path}", hint="leave it out to test what the options mean")
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror or exc}") from exc


def _refused(path: Path, what: str, hint: str = "") -> UsageError:
    return UsageError(f"{path} cannot be tested: {what}", hint=hint or TESTED)


def _folder(path: Path) -> Kind:
    if (path / "manifest.json").is_file() and (path / "disk.qcow2").is_file():
        return "image"
    if (path / SCRIPT).is_file():
        return "netboot"
    if (path / "user-data").is_file():
        raise _refused(path, "it is a seed", "give the disk, and this with --seed")
    if (path / "etc").is_dir() and (path / "usr").is_dir():
        raise _refused(path, "a root tree has nothing that boots", "`freehold image build` makes the disk")
    raise _refused(path, "it is no directory of an image and none of a network boot")


def _file(path: Path) -> Kind:
    with path.open("rb") as stream:
        head = stream.read(ISO_NAME + 32)
    if head[ISO_MAGIC : ISO_MAGIC + 5] == b"CD001":
        return _iso(path, head[ISO_NAME:].decode(errors="replace").strip())
    if head.startswith(b"QFI\xfb"):
        return "qcow2"
    if head[512:520] == b"EFI PART":
        return "raw"
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            names = set(archive.getnames())
        if {"metadata.json", "box.img"} <= names:
            return "box"
        if names & {"oci-layout", "manifest.json"}:
            raise _refused(path, "a container's base image has no kernel", "`docker load` takes it")
    raise _refused(path, "it is neither a disk nor a medium")


def _iso(path: Path, label: str) -> Kind:
    if label == LABEL:
        return "installer"
    if label.lower() == "cidata":
        raise _refused(path, "it is a seed", "give the disk, and this with --seed")
    raise _refused(
        path,
        f"the medium {label!r} is a vendor's, and what it installs is no host of Freehold's",
        "`freehold server bootstrap` makes one of it; `image remaster` has compared what boots",
    )


@dataclass(frozen=True)
class Carried:
    """What an installer has on its medium. `settings` and `rule` are its script's; `mac` may be empty."""

    host: str
    settings: Mapping[str, str]
    rule: Mapping[str, str]
    seed: Mapping[str, bytes]
    kernel: Path
    mac: str = ""

    @property
    def suite(self) -> str:
        """The image's, by its codename."""
        return parse_suite(self.settings["IMAGE_NAME"].split()[0])

    @property
    def generic(self) -> bool:
        """Whether the kernel is for any hardware. Debian's kernels say in their version what they are."""
        return "-cloud-" not in kernel_version(self.kernel)


def kernel_version(kernel: Path) -> str:
    """What a PC's kernel tells (The Linux/x86 Boot Protocol, `kernel_version`); empty for others."""
    data = kernel.read_bytes()
    if data[0x202:0x206] != b"HdrS":
        return ""
    place = int.from_bytes(data[0x20E:0x210], "little") + 0x200
    return data[place : place + 200].split(b"\0")[0].decode(errors="replace")


def _carried(files: Mapping[str, bytes], kernel: Path, path: Path, mac: str = "") -> Carried:
    try:
        words = shlex.split(files["settings"].decode())
        settings = dict(word.split("=", 1) for word in words)
        lines = (line.partition(" ") for line in files["rule"].decode().splitlines())
        seed = {name: files[f"seed/{name}"] for name in SEED_NAMES if f"seed/{name}" in files}
        return Carried(settings["HOST_NAME"], settings, {key: v for key, _, v in lines}, seed, kernel, mac)
    except (KeyError, ValueError) as exc:
        raise _foreign(path, exc) from exc


def _foreign(path: Path, exc: Exception) -> BuildError:
    return BuildError(f"{path} is not what this release makes: {exc}", hint="make it again")


def open_installer(iso: Path, work: Path, runner: Runner) -> Carried:
    """What is on the ISO, taken out below `work` as far as it is needed."""
    place = work / "medium"
    place.mkdir()
    names = ("settings", "rule", "seed", "vmlinuz")
    taken = [word for name in names for word in ("-extract", f"/freehold/{name}", str(place / name))]
    run_tool(runner, ("xorriso", "-no_rc", "-osirrox", "on", "-indev", iso, *taken))
    # What was on the medium is read-only there too.
    for folder in (place, place / "seed"):
        folder.chmod(0o700)
    files = {
        str(p.relative_to(place)): p.read_bytes()
        for p in place.rglob("*")
        if p.name != "vmlinuz" and p.is_file()
    }
    return _carried(files, place / "vmlinuz", iso)


def open_netboot(folder: Path, host: str) -> tuple[Carried, dict[str, Path]]:
    """The `host` (the only one, where it is empty) of a netboot directory, and all that is served of it."""
    known = sorted(path.stem for path in (folder / "hosts").glob("*.cpio"))
    wanted = host or (known[0] if len(known) == 1 else "")
    if wanted not in known:
        raise UsageError(
            f"{folder} has no host {host!r}" if host else f"which host of {folder}?",
            hint=f"--host NAME; there are {', '.join(known) or 'none'}",
        )
    cards = {name: mac for mac, name in CARD.findall((folder / SCRIPT).read_text())}
    try:
        with (folder / "hosts" / f"{wanted}.cpio").open("rb") as stream:
            found = {
                entry.path.removeprefix("freehold/medium/"): entry.data
                for entry in read(stream)
                if entry.data
            }
    except ValueError as exc:
        raise _foreign(folder, exc) from exc
    served = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return _carried(found, folder / "vmlinuz", folder, cards.get(wanted, "")), served


@dataclass(frozen=True)
class Disk:
    """A golden image's disk. `seed` is the one inside, `kernel` a copy of its own where one was found."""

    path: Path
    form: Literal["qcow2", "raw"]
    seed: Mapping[str, bytes] = field(default_factory=dict)
    kernel: Path | None = None


def open_disk(path: Path, form: Literal["qcow2", "raw"], work: Path, runner: Runner) -> Disk:
    """Look into a disk without changing it; UsageError where it is no golden image's."""
    raw = path
    if form == "qcow2":
        raw = work / "looked-into.raw"
        run_tool(runner, ("qemu-img", "convert", "-O", "raw", path, raw))
    try:
        try:
            root = f"{raw}?offset={root_start(raw, runner)}"
        except (BuildError, LookupError) as exc:
            raise _refused(path, "it is not the disk of a golden image") from exc
        seed = {name: _told(root, f"cat {FOLDER}/{name}", runner).encode() for name in SEED_NAMES}
        seed = {name: data for name, data in seed.items() if data}
        return Disk(path, form, seed, _kernel(root, work / "kernel", runner))
    finally:
        if raw != path:
            raw.unlink()


def _told(root: str, command: str, runner: Runner) -> str:
    return run_tool(runner, ("debugfs", "-R", command, root)).stdout


def _kernel(root: str, target: Path, runner: Runner) -> Path | None:
    names = re.findall(r"/(vmlinuz-[^/]+)/", _told(root, "ls -p /boot", runner))
    if names:
        _told(root, f"dump /boot/{names[-1]} {target}", runner)
    return target if target.is_file() else None


def open_box(path: Path, work: Path, runner: Runner) -> Disk:
    """The disk in a Vagrant box, unpacked below `work`."""
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name == "box.img" and member.isfile():
                member.name = "box.qcow2"
                archive.extract(member, work, filter="data")
    return open_disk(work / "box.qcow2", "qcow2", work, runner)
