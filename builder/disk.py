"""Where things stand on the disk: GPT partitions, their types and identities. Nothing here touches a disk."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from builder.spec import Arch, MiB

SECTOR = 512
BLOCK = 4096

# Types of the UEFI specification and of the Discoverable Partitions Specification.
TYPE_BIOS = "21686148-6449-6E6F-744E-656564454649"
TYPE_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

BIOS_SIZE = 1 * MiB
# 64 MiB is the least that holds a FAT32 of one-sector clusters, which every firmware reads.
ESP_SIZE = 64 * MiB
# The backup table takes 33 sectors; ending on a whole MiB keeps the root aligned.
TAIL = 1 * MiB


@dataclass(frozen=True)
class Identity:
    """The fixed identifiers of one image, derived from its inputs, so that two builds have the same bytes."""

    disk: uuid.UUID
    bios: uuid.UUID
    esp: uuid.UUID
    root: uuid.UUID
    filesystem: uuid.UUID
    hash_seed: uuid.UUID
    volume: int

    @property
    def volume_id(self) -> str:
        """The FAT volume's number as `/dev/disk/by-uuid` shows it: `1A2B-3C4D`."""
        return f"{self.volume >> 16:04X}-{self.volume & 0xFFFF:04X}"


def identity(seed: str) -> Identity:
    """Identifiers that depend on `seed` alone."""

    def derived(name: str) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"freehold:image:{seed}:{name}")

    return Identity(
        disk=derived("disk"),
        bios=derived("bios"),
        esp=derived("esp"),
        root=derived("root"),
        filesystem=derived("filesystem"),
        hash_seed=derived("hash-seed"),
        volume=derived("volume").int & 0xFFFFFFFF,
    )


@dataclass(frozen=True)
class Partition:
    """One entry of the table; `start` and `size` in bytes."""

    name: str
    kind: str
    start: int
    size: int
    identity: uuid.UUID

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.size


@dataclass(frozen=True)
class Layout:
    """A disk of `size` bytes. The root is the last partition, so that it can grow."""

    size: int
    identity: Identity
    bios: Partition | None
    esp: Partition
    root: Partition

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """In the order of the disk, which is the order of their numbers."""
        found = (self.bios, self.esp, self.root)
        return tuple(partition for partition in found if partition is not None)

    def number(self, partition: Partition) -> int:
        """The partition's number, from 1."""
        return self.partitions.index(partition) + 1


def layout(size: int, arch: Arch, ids: Identity) -> Layout:
    """BIOS boot (where the machine type has a BIOS), ESP, root; all aligned to 1 MiB.

    `size` in bytes, a multiple of 1 MiB. Raises ValueError for a disk too small to hold a root.
    """
    start = 1 * MiB
    bios = None
    if arch.bios:
        bios = Partition("bios", TYPE_BIOS, start, BIOS_SIZE, ids.bios)
        start = bios.end
    esp = Partition("esp", TYPE_ESP, start, ESP_SIZE, ids.esp)
    room = size - TAIL - esp.end
    if room < 64 * MiB or size % MiB:
        raise ValueError(f"a disk of {size} bytes has no room for a root")
    root = Partition("root", arch.root_type, esp.end, room, ids.root)
    return Layout(size=size, identity=ids, bios=bios, esp=esp, root=root)


def sfdisk_script(disk: Layout) -> str:
    """The table as `sfdisk` reads it on standard input."""
    lines = ["label: gpt", f"label-id: {str(disk.identity.disk).upper()}", "unit: sectors", ""]
    for partition in disk.partitions:
        lines.append(
            f"start={partition.start // SECTOR}, size={partition.size // SECTOR}, type={partition.kind}, "
            f'uuid={str(partition.identity).upper()}, name="{partition.name}"'
        )
    return "\n".join(lines) + "\n"


# Features that GRUB 2.06 and Linux 6.1 know; said in full, so that the building machine's mke2fs.conf
# does not decide. mke2fs 1.47 would add metadata_csum_seed and orphan_file, which older GRUB cannot read.
EXT4_FEATURES = (
    "none",
    "has_journal",
    "ext_attr",
    "resize_inode",
    "dir_index",
    "filetype",
    "extent",
    "64bit",
    "flex_bg",
    "sparse_super",
    "large_file",
    "huge_file",
    "dir_nlink",
    "extra_isize",
    "metadata_csum",
)


def mke2fs(disk: Layout, image: str, tree: str) -> tuple[str, ...]:
    """The command that writes `tree` as the root file system into the file `image`, at its offset."""
    ids = disk.identity
    # Inode tables are zeroed now: a host's first minutes should not go into that.
    extended = (
        f"offset={disk.root.start},hash_seed={ids.hash_seed},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    )
    return (
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        ",".join(EXT4_FEATURES),
        "-b",
        str(BLOCK),
        "-I",
        "256",
        "-i",
        "16384",
        "-m",
        "1",
        "-L",
        "root",
        "-U",
        str(ids.filesystem),
        "-E",
        extended,
        "-d",
        tree,
        image,
        str(disk.root.size // BLOCK),
    )


def mkfs_vfat(disk: Layout, image: str) -> tuple[str, ...]:
    """The command that makes the ESP's file system inside the file `image`."""
    return (
        "mkfs.vfat",
        "--invariant",
        "-F",
        "32",
        "-s",
        "1",
        "-S",
        str(SECTOR),
        "-i",
        f"{disk.identity.volume:08x}",
        "-n",
        "ESP",
        "-h",
        str(disk.esp.start // SECTOR),
        "--offset",
        str(disk.esp.start // SECTOR),
        image,
        str(disk.esp.size // 1024),
    )
