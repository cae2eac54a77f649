"""The image's kernel as QEMU starts it fastest: unpacked, entered by its PVH note.

A distribution's kernel unpacks itself when it boots. On an emulated processor that takes seconds, at
each boot of each machine; here it is done once, by this computer's own. Facts: the kernel's
Documentation/arch/x86/boot.rst (the header) and Xen's public/elfnote.h (note 18, the PVH entry).
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from freehold.environment import which
from freehold.errors import ProcessError
from freehold.files import write_atomic
from freehold.process import Runner

HEADER_MAGIC = b"HdrS"
# payload_offset and payload_length stand in the header from this version of the protocol on.
PAYLOAD_VERSION = 0x0208
ZSTD, XZ, GZIP = b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"\x1f\x8b"
ELF64 = b"\x7fELF\x02\x01"
PT_NOTE = 4
PVH_ENTRY = 18
# Behind what a compressor wrote, the kernel's build puts the unpacked size.
TRAILER = 4


def payload(kernel: bytes) -> bytes:
    """What is packed inside a bzImage; nothing where it is no bzImage."""
    if kernel[0x202:0x206] != HEADER_MAGIC or int.from_bytes(kernel[0x206:0x208], "little") < PAYLOAD_VERSION:
        return b""
    setup = (kernel[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    start = setup * 512 + offset
    return kernel[start : start + length]


def has_pvh_entry(elf: bytes) -> bool:
    """Whether an ELF file says where QEMU may enter it without firmware."""
    if not elf.startswith(ELF64):
        return False
    table, size, count = (
        struct.unpack_from("<Q", elf, 32)[0],
        *struct.unpack_from("<HH", elf, 54),
    )
    for number in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", elf, table + number * size)
        if kind == PT_NOTE and PVH_ENTRY in _notes(elf[offset : offset + length]):
            return True
    return False


def _notes(data: bytes) -> set[int]:
    """The types of Xen's notes."""
    found, at = set(), 0
    while at + 12 <= len(data):
        name, description, kind = struct.unpack_from("<III", data, at)
        if data[at + 12 : at + 12 + name] == b"Xen\0":
            found.add(kind)
        at += 12 + -(-name // 4) * 4 + -(-description // 4) * 4
    return found


def unpacked(kernel: Path, cache: Path, runner: Runner) -> Path:
    """The unpacked kernel in `cache`, made where it is missing; `kernel` itself where it cannot be made."""
    data = kernel.read_bytes()
    kept = cache / f"{hashlib.sha256(data).hexdigest()[:32]}.elf"
    if kept.is_file():
        return kept
    elf = _unpack(payload(data), runner)
    if not has_pvh_entry(elf):
        return kernel
    write_atomic(kept, elf, 0o644)
    return kept


def _unpack(packed: bytes, runner: Runner) -> bytes:
    try:
        if packed.startswith(XZ):
            return lzma.LZMADecompressor().decompress(packed)
        if packed.startswith(GZIP):
            return zlib.decompressobj(wbits=31).decompress(packed)
        if packed.startswith(ZSTD) and which("zstd") is not None:
            return _unzstd(packed[:-TRAILER], runner)
    except (lzma.LZMAError, zlib.error, ProcessError):
        return b""
    return b""


def _unzstd(packed: bytes, runner: Runner) -> bytes:
    with TemporaryFile() as out:
        runner.run(("zstd", "-dcq"), stdin=packed, stdout_to=cast(BinaryIO, out), timeout=60)
        out.seek(0)
        return out.read()
