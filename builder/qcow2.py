"""A raw disk as a compressed qcow2, on all processors, and the same bytes each time.

Facts: docs/interop/qcow2.txt of QEMU ("Header", "Host cluster management", "Cluster mapping"). Version 3,
clusters of 64 KiB, each a zstd frame; frames stand one after the other in the order of the disk. Holes and
zeros are not allocated. What does not get smaller is kept as it is, behind the frames, as it has to be
aligned; tables come last, as they are known last.
"""

from __future__ import annotations

import os
import struct
import threading
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from builder.zstd import Compressor
from freehold.errors import BuildError

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
ZEROS = bytes(CLUSTER)
# The third, which qemu-img takes, costs half as much again and saves a hundredth.
LEVEL = 2
# Clusters that a thread takes at once, and bytes that are written at once: changes of threads cost.
BATCH = 32
BUFFER = 1 << 20

HEADER = ">4sIQIIQIIQQIIQQQQIIB7x"
HEADER_LENGTH = 112
COMPRESSION_TYPE = 1 << 3
ZSTD = 1
REFCOUNT_ORDER = 4
PER_REFCOUNT_BLOCK = CLUSTER * 8 >> REFCOUNT_ORDER
PER_L2 = CLUSTER // 8

COPIED = 1 << 63
COMPRESSED = 1 << 62
# Of a compressed cluster's entry: the place in bytes below, the further sectors of 512 bytes above.
SECTORS_SHIFT = 62 - (CLUSTER_BITS - 8)


@dataclass
class _Image:
    """A file in the making: `entries` (guest cluster → L2 entry), uses of each host cluster."""

    out: BinaryIO
    entries: dict[int, int] = field(default_factory=dict)
    counts: array[int] = field(default_factory=lambda: array("H"))
    place: int = 0

    def append(self, data: bytes) -> int:
        """Write at the end; where it went, in bytes."""
        start, self.place = self.place, self.place + len(data)
        self.out.write(data)
        first, last = start >> CLUSTER_BITS, (self.place - 1) >> CLUSTER_BITS
        self.counts.extend([0] * (last + 1 - len(self.counts)))
        for cluster in range(first, last + 1):
            self.counts[cluster] += 1
        return start

    def align(self) -> None:
        """Go to the next whole cluster."""
        rest = -self.place % CLUSTER
        self.out.write(bytes(rest))
        self.place += rest

    def append_aligned(self, data: bytes) -> int:
        """Write `data`, filled up to whole clusters, from a whole cluster on."""
        self.align()
        return self.append(data + bytes(-len(data) % CLUSTER))


def compressed_entry(start: int, length: int) -> int:
    """The L2 entry of a frame of `length` bytes at byte `start` of the file."""
    sectors = ((start + length - 1) >> 9) - (start >> 9)
    return COMPRESSED | sectors << SECTORS_SHIFT | start


def write_qcow2(raw: Path, target: Path, *, workers: int = 0) -> None:
    """Write `raw` as a new file `target`; BuildError where that fails, as on a full disk.

    `workers` (default: one per processor) do not change the bytes.
    """
    try:
        _write(raw, target, workers or os.cpu_count() or 1)
    except OSError as exc:
        raise BuildError(f"{target.name} could not be written: {exc}", hint="is the disk full?") from exc


def _write(raw: Path, target: Path, workers: int) -> None:
    size = raw.stat().st_size
    with raw.open("rb") as source, target.open("wb", buffering=BUFFER) as out:
        image = _Image(out)
        image.append_aligned(bytes(CLUSTER))
        stubborn = []
        for number, frame in _frames(source.fileno(), size, workers):
            if frame:
                image.entries[number] = compressed_entry(image.append(frame), len(frame))
            else:
                stubborn.append(number)
        for number in stubborn:
            image.entries[number] = COPIED | image.append_aligned(_read(source.fileno(), number))
        header = _tables(image, size)
        out.seek(0)
        out.write(header)


def refcount_room(used: int) -> tuple[int, int]:
    """Clusters of refcounts and of the table of them behind `used` clusters: they count themselves too."""
    blocks = table = 1
    while blocks * PER_REFCOUNT_BLOCK < used + blocks + table:
        blocks += 1
        table = -(-blocks * 8 // CLUSTER)
    return blocks, table


def _tables(image: _Image, size: int) -> bytes:
    """Append L2, L1 and refcounts; the header that leads to them."""
    clusters = -(-size // CLUSTER)
    l1 = array("Q", bytes(8 * -(-clusters // PER_L2)))
    for index in range(len(l1)):
        numbers = range(index * PER_L2, (index + 1) * PER_L2)
        if any(number in image.entries for number in numbers):
            table = [image.entries.get(number, 0) for number in numbers]
            l1[index] = COPIED | image.append_aligned(struct.pack(f">{PER_L2}Q", *table))
    l1_place = image.append_aligned(struct.pack(f">{len(l1)}Q", *l1))
    used = len(image.counts)
    blocks, table_clusters = refcount_room(used)
    image.counts.extend([1] * (blocks + table_clusters))
    image.counts.extend([0] * (blocks * PER_REFCOUNT_BLOCK - len(image.counts)))
    counts = image.counts
    first = used << CLUSTER_BITS
    image.align()
    assert image.place == first
    image.out.write(struct.pack(f">{len(counts)}H", *counts))
    table_place = first + blocks * CLUSTER
    places = struct.pack(f">{blocks}Q", *(first + number * CLUSTER for number in range(blocks)))
    image.out.write(places.ljust(table_clusters * CLUSTER, b"\0"))
    return struct.pack(
        HEADER,
        b"QFI\xfb",
        3,
        0,
        0,
        CLUSTER_BITS,
        size,
        0,
        len(l1),
        l1_place,
        table_place,
        table_clusters,
        0,
        0,
        COMPRESSION_TYPE,
        0,
        0,
        REFCOUNT_ORDER,
        HEADER_LENGTH,
        ZSTD,
    )


def _frames(source: int, size: int, workers: int) -> Iterator[tuple[int, bytes]]:
    """(number, frame) of each cluster that holds something, in order; an empty frame: it got no smaller."""
    own = threading.local()

    def work(numbers: range) -> list[tuple[int, bytes]]:
        if not hasattr(own, "compressor"):
            own.compressor = Compressor(CLUSTER, LEVEL)
        found = []
        for number in numbers:
            data = _read(source, number)
            if data != ZEROS:
                frame = own.compressor.compress(data)
                found.append((number, frame if len(frame) < CLUSTER else b""))
        return found

    waiting: deque[Future[list[tuple[int, bytes]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for numbers in _batches(source, size):
            waiting.append(pool.submit(work, numbers))
            # What is ready waits in memory: no more of it than keeps all threads busy.
            if len(waiting) > 8 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _batches(source: int, size: int) -> Iterator[range]:
    """The numbers of clusters that are no hole of the file, in order, a few at a time."""
    done = 0
    while (start := _seek(source, done * CLUSTER, os.SEEK_DATA, size)) < size:
        first = max(done, start // CLUSTER)
        done = -(-_seek(source, start, os.SEEK_HOLE, size) // CLUSTER)
        for number in range(first, done, BATCH):
            yield range(number, min(number + BATCH, done))


def _seek(source: int, place: int, whence: int, size: int) -> int:
    try:
        return os.lseek(source, place, whence)
    except OSError:
        # No data from here on (ENXIO).
        return size


def _read(source: int, number: int) -> bytes:
    """A cluster; zeros stand for what lies behind the end of the disk."""
    data = os.pread(source, CLUSTER, number * CLUSTER)
    return data if len(data) == CLUSTER else data.ljust(CLUSTER, b"\0")
