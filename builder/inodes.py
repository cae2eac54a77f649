"""Dates inside an ext4 file system that was made from a tree: every inode gets the same.

mke2fs copies each file's own change time, which nobody can set and which differs from build to build. The
inodes are changed in place here: a command of `debugfs` for each of them takes five times as long.

Facts: Documentation/filesystems/ext4 of Linux ("Super Block", "Block Group Descriptors", "Inode Table",
"Checksums"). A checksum is CRC-32C over the file system's UUID, the inode's number and generation, and the
inode. CRCs are linear: the change of a checksum follows from the changed bytes alone.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from freehold.errors import BuildError

MAGIC = 0xEF53
METADATA_CSUM = 0x400
INODE_SIZE = 256
DESCRIPTOR = 64
# A group whose inode table was never written (bg_flags).
UNINITIALISED = 1
ROOT_INODE = 2

# Of an inode: access and change time; the latter's finer part; access time's, creation time and its.
FIELDS = ((0x08, 8), (0x84, 4), (0x8C, 12))
CHECKSUM_LOW, CHECKSUM_HIGH = 0x7C, 0x82
PLACES = tuple(place for start, length in FIELDS for place in range(start, start + length))
CASTAGNOLI = 0x82F63B78


@dataclass(frozen=True)
class FileSystem:
    """Where things stand: `block` in bytes, counts as in the superblock."""

    block: int
    inodes: int
    per_group: int
    first: int

    @property
    def groups(self) -> int:
        """How many groups of blocks there are."""
        return -(-self.inodes // self.per_group)


def set_times(image: Path, offset: int, epoch: int) -> int:
    """Set access, change and creation time of each inode of a file system that begins at byte `offset`.

    `epoch` in seconds since 1970; the file system's own inodes are left alone. How many were changed. Raises
    BuildError for a file system of another kind than `builder.disk` makes.
    """
    with image.open("r+b") as stream:
        descriptor = stream.fileno()
        system = _superblock(os.pread(descriptor, 1024, offset + 1024), image)
        wanted = struct.pack("<IIIIII", epoch, epoch, 0, 0, epoch, 0)
        count = 0
        for table, numbers in _used(descriptor, offset, system):
            start, length = numbers[0] * INODE_SIZE, (numbers[-1] + 1 - numbers[0]) * INODE_SIZE
            data = bytearray(os.pread(descriptor, length, table + start))
            for number in numbers:
                _change(data, number * INODE_SIZE - start, wanted)
            os.pwrite(descriptor, data, table + start)
            count += len(numbers)
    return count


def _superblock(data: bytes, image: Path) -> FileSystem:
    if len(data) < 1024:
        raise BuildError(f"{image} holds no ext4 file system")
    inodes, log_block, per_group, first, size = (
        struct.unpack_from(form, data, place)[0]
        for form, place in (("<I", 0x00), ("<I", 0x18), ("<I", 0x28), ("<I", 0x54), ("<H", 0x58))
    )
    (magic,) = struct.unpack_from("<H", data, 0x38)
    (read_only,) = struct.unpack_from("<I", data, 0x64)  # features that a reader may ignore
    (descriptor,) = struct.unpack_from("<H", data, 0xFE)
    if magic != MAGIC or size != INODE_SIZE or descriptor != DESCRIPTOR or not read_only & METADATA_CSUM:
        raise BuildError(f"{image} holds no ext4 file system with checksums and 64 bits")
    return FileSystem(1024 << log_block, inodes, per_group, first)


def _used(descriptor: int, offset: int, system: FileSystem) -> Iterator[tuple[int, list[int]]]:
    """For each group: where its inode table is in the image, and the places in it that files use."""
    place = offset + (system.block if system.block > 1024 else 2 * system.block)
    table = os.pread(descriptor, system.groups * DESCRIPTOR, place)
    for group in range(system.groups):
        own = table[group * DESCRIPTOR : (group + 1) * DESCRIPTOR]
        if struct.unpack_from("<H", own, 0x12)[0] & UNINITIALISED:
            continue
        bitmap, inodes = (
            struct.unpack_from("<I", own, low)[0] | struct.unpack_from("<I", own, low + 0x20)[0] << 32
            for low in (0x04, 0x08)
        )
        bits = os.pread(descriptor, system.per_group // 8, offset + bitmap * system.block)
        numbers = [
            byte * 8 + bit
            for byte, value in enumerate(bits)
            if value
            for bit in range(8)
            if value >> bit & 1 and _is_file(group * system.per_group + byte * 8 + bit + 1, system)
        ]
        if numbers:
            yield offset + inodes * system.block, numbers


def _is_file(number: int, system: FileSystem) -> bool:
    return number == ROOT_INODE or number >= system.first


def _change(data: bytearray, start: int, wanted: bytes) -> None:
    before = b"".join(data[start + place : start + place + length] for place, length in FIELDS)
    if before == wanted:
        return
    done = 0
    for place, length in FIELDS:
        data[start + place : start + place + length] = wanted[done : done + length]
        done += length
    effect = _effect(bytes(a ^ b for a, b in zip(before, wanted, strict=True)))
    for place, part in ((CHECKSUM_LOW, effect & 0xFFFF), (CHECKSUM_HIGH, effect >> 16)):
        at = start + place
        data[at] ^= part & 0xFF
        data[at + 1] ^= part >> 8


@cache
def _effect(changed: bytes) -> int:
    """What changed bits at `PLACES` change in an inode's checksum."""
    result = 0
    for effects, value in zip(_effects(), changed, strict=True):
        for bit in range(8):
            if value >> bit & 1:
                result ^= effects[bit]
    return result


@cache
def _effects() -> tuple[tuple[int, ...], ...]:
    """For each of `PLACES` and each bit there: the CRC of an inode in which nothing else is set."""
    return tuple(tuple(_crc_of_bit(place, bit) for bit in range(8)) for place in PLACES)


def _crc_of_bit(place: int, bit: int) -> int:
    crc = 1 << bit
    for _ in range((INODE_SIZE - place) * 8):
        crc = crc >> 1 ^ (CASTAGNOLI if crc & 1 else 0)
    return crc
