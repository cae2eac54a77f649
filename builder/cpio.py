"""Initramfs archives (cpio, `newc`): the form the kernel unpacks. The same entries give the same bytes.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """A directory or a file; `path` has no leading slash. A file's content is `data` or `source`."""

    path: str
    mode: int
    data: bytes = b""
    source: Path | None = None

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self.source.stat().st_size if self.source is not None else len(self.data)


def folder(path: str) -> Entry:
    """A directory."""
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """A file with this content."""
    return Entry(path, stat.S_IFREG | mode, data)


def copy(path: str, source: Path, mode: int = 0o644) -> Entry:
    """A file with the content of one here."""
    return Entry(path, stat.S_IFREG | mode, source=source)


def with_folders(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with the directories they stand in, each before what is inside."""
    found: dict[str, Entry] = {}
    for entry in entries:
        for parent in reversed(Path(entry.path).parents[:-1]):
            found.setdefault(str(parent), folder(str(parent)))
        found[entry.path] = entry
    return list(found.values())


def write(stream: BinaryIO, entries: Iterable[Entry]) -> None:
    """Write an archive of `entries`, owned by root, dated 0, padded to whole words."""
    for number, entry in enumerate(entries, 1):
        _head(stream, number, entry.path, entry.mode, entry.size)
        if entry.source is None:
            stream.write(entry.data)
        else:
            with entry.source.open("rb") as content:
                while data := content.read(1 << 20):
                    stream.write(data)
        stream.write(b"\0" * (-entry.size % 4))
    _head(stream, 0, TRAILER, 0, 0)


def _head(stream: BinaryIO, number: int, name: str, mode: int, size: int) -> None:
    encoded = name.encode() + b"\0"
    # inode, mode, owner, group, links, date, size, device, special device, length of the name, check sum
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    stream.write(head + b"\0" * (-len(head) % 4))


def read(stream: BinaryIO) -> Iterator[Entry]:
    """The entries of an archive that `write` made; ValueError where it is none, or ends too early."""
    while True:
        head = stream.read(110)
        if len(head) != 110 or not head.startswith(b"070701"):
            raise ValueError("it is no newc archive, or it is cut off")
        fields = [int(head[start : start + 8], 16) for start in range(6, 110, 8)]
        mode, size, length = fields[1], fields[6], fields[11]
        # The name begins behind the head, whose length is no multiple of 4.
        name = stream.read(length + -(110 + length) % 4)[: length - 1].decode()
        if name == TRAILER:
            return
        data = stream.read(size + -size % 4)[:size]
        if len(data) != size:
            raise ValueError(f"{name} is cut off")
        yield Entry(name, mode, data)
