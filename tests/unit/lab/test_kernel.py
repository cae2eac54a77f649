"""The kernel that QEMU starts: found inside a bzImage, unpacked once, taken only where it can be entered."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from freehold.process import LocalRunner
from lab.kernel import GZIP, XZ, ZSTD, has_pvh_entry, payload, unpacked

SETUP = 3


def elf(note: int = 18, owner: bytes = b"Xen\0") -> bytes:
    """A file with one program header: notes."""
    notes = struct.pack("<III", 6, 4, 1) + b"Linux\0\0\0" + b"\0\0\0\0"
    notes += struct.pack("<III", len(owner), 8, note) + owner + struct.pack("<Q", 0x1000000)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4) + notes


def bzimage(packed: bytes, version: int = 0x020F) -> bytes:
    head = bytearray((SETUP + 1) * 512)
    head[0x1F1] = SETUP
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, 16, len(packed))
    return bytes(head) + b"x" * 16 + packed + b"behind"


def pack(how: bytes, data: bytes) -> bytes:
    size = struct.pack("<I", len(data))
    if how == XZ:
        return lzma.compress(data) + size
    if how == GZIP:
        return gzip.compress(data)
    return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout + size


@pytest.mark.parametrize("how", [XZ, GZIP, pytest.param(ZSTD, marks=pytest.mark.needs("zstd"))])
def test_a_packed_kernel_is_unpacked_once(how: bytes, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(bzimage(pack(how, elf())))
    made = unpacked(kernel, tmp_path / "cache", LocalRunner())
    assert made.read_bytes() == elf()
    made.write_bytes(b"kept")
    assert unpacked(kernel, tmp_path / "cache", LocalRunner()).read_bytes() == b"kept"


@pytest.mark.parametrize(
    "content",
    [
        b"MZ no kernel",
        bzimage(b"BZh91 packed otherwise"),
        bzimage(XZ + b"broken"),
        bzimage(pack(XZ, elf(note=17))),
        bzimage(pack(XZ, elf(owner=b"GNU\0"))),
        bzimage(pack(XZ, elf()), version=0x0207),
    ],
)
def test_any_other_kernel_is_started_as_it_is(content: bytes, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(content)
    assert unpacked(kernel, tmp_path / "cache", LocalRunner()) == kernel
    assert not (tmp_path / "cache").exists()


def test_the_payload_is_cut_out_exactly() -> None:
    assert payload(bzimage(b"packed")) == b"packed"


def test_the_entry_is_xens_note_18() -> None:
    assert has_pvh_entry(elf())
    assert not has_pvh_entry(elf(note=17))
