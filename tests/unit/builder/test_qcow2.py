"""The qcow2 that Freehold writes, read by QEMU's own tools."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.qcow2 import CLUSTER, PER_REFCOUNT_BLOCK, compressed_entry, refcount_room, write_qcow2
from builder.spec import MiB
from freehold.errors import BuildError
from freehold.process import LocalRunner

RUNNER = LocalRunner()
needs_qemu = pytest.mark.needs("qemu-img")


def disk(path: Path, size: int, parts: dict[int, bytes]) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size)
        for place, data in parts.items():
            stream.seek(place)
            stream.write(data)
    return path


def same(raw: Path, made: Path) -> None:
    """QEMU finds nothing wrong with it, and reads what was in `raw`."""
    RUNNER.run(("qemu-img", "check", "-f", "qcow2", made))
    RUNNER.run(("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, made))


RANDOM = os.urandom(3 * CLUSTER)
DISKS = {
    "nothing but holes": (3 * MiB, {}),
    "written zeros": (MiB, {0: bytes(CLUSTER * 2)}),
    "text, and the last byte": (2 * MiB, {CLUSTER - 7: b"word " * 50_000, 2 * MiB - 1: b"!"}),
    "what gets no smaller, between what does": (2 * MiB, {0: b"a" * CLUSTER, CLUSTER: RANDOM, MiB: b"b"}),
    "several tables": (1100 * MiB, {0: b"first", 513 * MiB: RANDOM + b"second", 1099 * MiB: b"third"}),
    "an odd size": (MiB + 512, {MiB + 500: b"end"}),
}


@needs_qemu
@pytest.mark.parametrize("name", DISKS)
def test_qemu_reads_what_was_written(name: str, tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", *DISKS[name])
    write_qcow2(raw, tmp_path / "made.qcow2")
    same(raw, tmp_path / "made.qcow2")


def test_refcounts_have_room_for_themselves() -> None:
    block = PER_REFCOUNT_BLOCK
    assert refcount_room(1) == (1, 1)
    assert refcount_room(block - 2) == (1, 1)
    assert refcount_room(block - 1) == (2, 1)
    assert refcount_room(2 * block - 3) == (2, 1)
    # A table of one cluster leads to 8192 blocks.
    assert refcount_room(8192 * block - 8193) == (8192, 1)
    assert refcount_room(8192 * block - 8192) == (8193, 2)


def test_threads_do_not_change_the_bytes(tmp_path: Path) -> None:
    parts = {place * 3 * CLUSTER: f"{place} ".encode() * (place * 900) for place in range(20)}
    raw = disk(tmp_path / "raw", 8 * MiB, parts | {7 * MiB: RANDOM})
    for workers in (1, 2, 5):
        write_qcow2(raw, tmp_path / str(workers), workers=workers)
    first = (tmp_path / "1").read_bytes()
    assert (tmp_path / "2").read_bytes() == first
    assert (tmp_path / "5").read_bytes() == first


@needs_qemu
def test_it_can_be_written_to_snapshotted_and_stood_upon(tmp_path: Path) -> None:
    """What labs do with it: overlays, snapshots inside, writing over a compressed cluster."""
    raw = disk(tmp_path / "raw", 2 * MiB, {0: b"old " * 100_000, MiB: RANDOM})
    made, over = tmp_path / "made.qcow2", tmp_path / "over.qcow2"
    write_qcow2(raw, made)
    RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", made, over, "8M"))
    RUNNER.run(("qemu-io", "-f", "qcow2", "-c", "write -P 7 100k 300k", over))
    RUNNER.run(("qemu-io", "-f", "qcow2", "-c", "read -P 7 100k 300k", over))
    same(raw, made)
    RUNNER.run(("qemu-img", "snapshot", "-c", "before", made))
    RUNNER.run(("qemu-io", "-f", "qcow2", "-c", "write -P 9 0 1500k", made))
    RUNNER.run(("qemu-img", "check", "-f", "qcow2", made))
    RUNNER.run(("qemu-img", "snapshot", "-a", "before", made))
    same(raw, made)


def test_an_entry_counts_the_sectors_it_reaches_into() -> None:
    assert compressed_entry(CLUSTER, 512) == 1 << 62 | CLUSTER
    assert compressed_entry(CLUSTER + 511, 2) == 1 << 62 | 1 << 54 | CLUSTER + 511


def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    raw = disk(tmp_path / "raw", 2 * MiB, {0: RANDOM})
    with pytest.raises(BuildError, match="No space left"):
        write_qcow2(raw, Path("/dev/full"))
