"""Which bytes of an ext4 file system are in use. Pure."""

from __future__ import annotations

import re

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
