"""A disk image as the installer writes it: only the pieces that hold something, each with its checksum.

An empty part of the root is neither carried nor written, so that the time to install depends on what is in
the image and not on its size. The partition table is kept apart: written last, it makes the disk bootable
only when everything else has been written and verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from builder.assemble import root_dump, run_tool
from builder.disk import Layout
from builder.ext4 import used_ranges
from builder.spec import MiB
from freehold.process import Runner

# A piece is the grain of progress and of verification.
PIECE = 64 * MiB
# Smaller gaps are not worth a piece of their own.
GAP = 1 * MiB
# Higher levels take several times as long and save a tenth.
ZSTD = ("zstd", "--quiet", "-T2", "-3")


@dataclass(frozen=True)
class Piece:
    """Bytes of the disk: `offset`, `length`, and the SHA-256 of the content in hex."""

    offset: int
    length: int
    digest: str


def pieces(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(offset, length) of the pieces that cover ranges (start, end), in order."""
    joined: list[list[int]] = []
    for start, end in sorted(ranges):
        if joined and start - joined[-1][1] < GAP:
            joined[-1][1] = max(end, joined[-1][1])
        else:
            joined.append([start, end])
    return [(place, min(PIECE, end - place)) for start, end in joined for place in range(start, end, PIECE)]


def image_ranges(disk: Layout, dump: str) -> list[tuple[int, int]]:
    """What of the disk is in use, apart from its tables; `dump` is what `dumpe2fs` says about the root."""
    whole = [(part.start, part.end) for part in disk.partitions if part is not disk.root]
    root = [(disk.root.start + start, disk.root.start + end) for start, end in used_ranges(dump)]
    return [*whole, *root]


def table_ranges(disk: Layout) -> list[tuple[int, int]]:
    """Boot code and partition table, and the table's copy at the end of the image."""
    return [(0, disk.partitions[0].start), (disk.root.end, disk.size)]


def text(found: Iterable[Piece]) -> str:
    """The map as the installer reads it."""
    return "".join(f"{piece.offset} {piece.length} {piece.digest}\n" for piece in found)


def pack(raw: Path, ranges: Iterable[tuple[int, int]], target: Path, runner: Runner) -> tuple[Piece, ...]:
    """Write the pieces of `raw` one after the other, compressed, to `target`."""
    stream = target.with_suffix(".pieces")
    with stream.open("wb") as out:
        found = tuple(_copied(raw, ranges, out))
    run_tool(runner, (*ZSTD, "-f", "-o", target, stream))
    stream.unlink()
    return found


def _copied(raw: Path, ranges: Iterable[tuple[int, int]], out: BinaryIO) -> Iterator[Piece]:
    with raw.open("rb") as source:
        for offset, length in pieces(ranges):
            digest = hashlib.sha256()
            source.seek(offset)
            left = length
            while left:
                data = source.read(min(left, MiB))
                if not data:
                    raise ValueError(f"{raw} ends before byte {offset + length}")
                digest.update(data)
                out.write(data)
                left -= len(data)
            yield Piece(offset, length, digest.hexdigest())


def pack_image(
    raw: Path, disk: Layout, directory: Path, runner: Runner
) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """`image.zst`, `image.map`, `table.zst` and `table.map` of `raw` in `directory`; their pieces."""
    dump = root_dump(raw, disk, runner)
    image = pack(raw, image_ranges(disk, dump), directory / "image.zst", runner)
    table = pack(raw, table_ranges(disk), directory / "table.zst", runner)
    (directory / "image.map").write_text(text(image))
    (directory / "table.map").write_text(text(table))
    return image, table
