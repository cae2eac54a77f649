"""Dates inside an ext4 file system that was made from a tree. Pure.

mke2fs copies each file's own change time, which nobody can set and which differs from build to build;
`debugfs` sets it afterwards without mounting anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

ROOT_INODE = 2
# Below are the file system's own inodes, which mke2fs dates itself.
FIRST_INODE = 11

GROUP = re.compile(r"^Group \d+:", re.MULTILINE)
PER_GROUP = re.compile(r"^Inodes per group:\s+(\d+)$", re.MULTILINE)
FREE = re.compile(r"^\s+Free inodes: *(.*)$", re.MULTILINE)


def used_inodes(dump: str) -> Iterator[int]:
    """The inodes in use, from what `dumpe2fs` prints; ValueError where it is something else."""
    per_group = PER_GROUP.search(dump)
    groups = GROUP.split(dump)[1:]
    if per_group is None or not groups:
        raise ValueError("this is not the output of dumpe2fs")
    size = int(per_group[1])
    for index, group in enumerate(groups):
        found = FREE.search(group)
        if found is None:
            raise ValueError(f"dumpe2fs says nothing of the inodes of group {index}")
        free: set[int] = set()
        for word in filter(None, (part.strip() for part in found[1].split(","))):
            first, _, last = word.partition("-")
            free.update(range(int(first), int(last or first) + 1))
        yield from (
            number
            for number in range(index * size + 1, (index + 1) * size + 1)
            if number not in free and (number == ROOT_INODE or number >= FIRST_INODE)
        )


def stamp(inodes: Iterable[int], epoch: int) -> str:
    """`debugfs` commands that set the access, change and creation time of inodes to `epoch` (seconds)."""
    lines = []
    for number in inodes:
        for field in ("atime", "ctime", "crtime"):
            lines += [f"sif <{number}> {field} @{epoch}", f"sif <{number}> {field}_extra 0"]
    return "\n".join(lines) + "\n"


FREE_BLOCKS = re.compile(r"^\s+Free blocks: *(.*)$", re.MULTILINE)
COUNT = re.compile(r"^Block count:\s+(\d+)$", re.MULTILINE)
SIZE = re.compile(r"^Block size:\s+(\d+)$", re.MULTILINE)


def used_ranges(dump: str) -> list[tuple[int, int]]:
    """The bytes in use, as (start, end) within the file system, from what `dumpe2fs` prints.

    Blocks of the file system's own (tables, journal) count as used: who has these ranges has it whole.
    """
    count, size = COUNT.search(dump), SIZE.search(dump)
    if count is None or size is None:
        raise ValueError("this is not the output of dumpe2fs")
    block = int(size[1])
    found: list[tuple[int, int]] = []
    place = 0
    for line in FREE_BLOCKS.findall(dump):
        for word in filter(None, (part.strip() for part in line.split(","))):
            first, _, last = word.partition("-")
            if int(first) > place:
                found.append((place * block, int(first) * block))
            place = int(last or first) + 1
    if place < int(count[1]):
        found.append((place * block, int(count[1]) * block))
    return found
