"""Debian archives without their compression, made by idle processors before dpkg comes to them.

dpkg unpacks one archive after the other, and each is decompressed by one processor. This program does that
beforehand, and puts an archive that is not compressed (deb(5) knows such) in the place of the one that is,
once apt has looked at that: it compares sizes. What this does not get to, or cannot read, stays as it is;
what it has expanded goes when dpkg has unpacked it.

It runs within the sandbox and needs nothing but the standard library:

    expand.py ROOT ARCHIVES ORIGINALS NAMES LOOKED-AT

ROOT is the tree, ARCHIVES where apt keeps archives, ORIGINALS where those are kept that are replaced. NAMES
has the names of archives in about the order in which they are wanted, and LOOKED-AT those that apt has looked
at, as they come. Ends when no archive is left, or LOOKED-AT is gone.
"""

from __future__ import annotations

import lzma
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

MAGIC = b"!<arch>\n"
# ar(5): name, date, owner, group, mode, size and an end, in text.
HEADER = "{:16}{:12}{:6}{:6}{:8}{:10}`\n"
HEADER_LENGTH = 60
CHUNK = 1 << 20
# Seconds between two looks at what apt has looked at.
PAUSE = 0.1
# Archives are put in place by renaming: half of one is never seen.
SUFFIX = ".expanded"


class Unknown(Exception):
    """An archive that is none, or is compressed in a way that is not known here."""


class Decoder(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class Verbatim:
    """For what is not compressed."""

    eof, unused_data = True, b""

    def decompress(self, data: bytes) -> bytes:
        return data


def decoder(name: str) -> tuple[str, Decoder]:
    """The name of an archive's member without compression, and what decompresses it."""
    stem, _, suffix = name.rpartition(".")
    if suffix == "xz":
        return stem, lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    if suffix == "gz":
        return stem, zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    if name in ("debian-binary", "control.tar", "data.tar"):
        return name, Verbatim()
    raise Unknown(name)


def expand(source: BinaryIO, target: BinaryIO) -> None:
    """Write the archive `source` with members that are not compressed. Unknown, or the decoder's error."""
    if source.read(len(MAGIC)) != MAGIC:
        raise Unknown("no ar(5) archive")
    target.write(MAGIC)
    while header := source.read(HEADER_LENGTH):
        if len(header) < HEADER_LENGTH or not header.endswith(b"`\n"):
            raise Unknown("a header that is none")
        left = int(header[48:58])
        odd = left % 2
        name, decompressor = decoder(header[:16].decode().rstrip().rstrip("/"))
        start = target.tell()
        target.write(bytes(HEADER_LENGTH))
        while left:
            data = source.read(min(CHUNK, left))
            if not data:
                raise Unknown("it ends before its end")
            left -= len(data)
            target.write(decompressor.decompress(data))
        if not decompressor.eof or decompressor.unused_data:
            raise Unknown("more or less than one stream")
        end = target.tell()
        target.seek(start)
        target.write(HEADER.format(name, 0, 0, 0, 100644, end - start - HEADER_LENGTH).encode())
        target.seek(end)
        target.write(b"\n" * ((end - start) % 2))
        source.read(odd)


class Expansion:
    """The archives of one build: which are wanted, which are there, which may be replaced."""

    def __init__(self, root: Path, archives: Path, originals: Path, names: Path, looked_at: Path) -> None:
        self.info = root / "var" / "lib" / "dpkg" / "info"
        self.archives, self.originals = archives, originals
        self.looked_at = looked_at
        self.names = names.read_text().split()
        self.lock = threading.Lock()
        self.taken: set[str] = set()
        self.ready: set[str] = set()
        self.placed: set[str] = set()

    def replaceable(self) -> list[str]:
        """Archives that apt has looked at, in the order in which dpkg gets them."""
        return [Path(line).name for line in self.looked_at.read_text().split()]

    def unpacked(self, name: str) -> bool:
        """Whether dpkg is through with an archive: it has written down its files."""
        package, _, rest = name.partition("_")
        arch = rest.rpartition("_")[2].removesuffix(".deb")
        return any((self.info / f"{kind}.list").exists() for kind in (package, f"{package}:{arch}"))

    def work(self) -> Iterator[str]:
        """The next archive each time, for one of several threads: first those that dpkg is at.

        The last come first: dpkg decompresses the first itself meanwhile, and none is decompressed twice.
        """
        while True:
            with self.lock:
                wanted = (*reversed(self.replaceable()), *reversed(self.names))
                for name in wanted:
                    if name in self.taken:
                        continue
                    self.taken.add(name)
                    if not self.unpacked(name):
                        break
                else:
                    return
            yield name

    def run(self) -> None:
        """One thread's part."""
        with suppress(FileNotFoundError):
            for name in self.work():
                self.expand(name)

    def expand(self, name: str) -> None:
        """Expand one archive beside itself."""
        expanded = self.archives / (name + SUFFIX)
        try:
            with (self.archives / name).open("rb") as source, expanded.open("xb") as target:
                expand(source, target)
        except (OSError, ValueError, lzma.LZMAError, zlib.error, Unknown):
            # What is wrong with it, if anything is, dpkg says better.
            expanded.unlink(missing_ok=True)
            return
        with self.lock:
            self.ready.add(name)

    def place(self) -> None:
        """Put what is ready where dpkg finds it; take away what it has read, which the disk need not get."""
        with self.lock:
            for name in self.ready.intersection(self.replaceable()):
                archive = self.archives / name
                (self.originals / name).hardlink_to(archive)
                archive.with_name(name + SUFFIX).replace(archive)
                self.ready.remove(name)
                self.placed.add(name)
        for name in [name for name in self.placed if self.unpacked(name)]:
            (self.archives / name).unlink()
            self.placed.remove(name)


def main(root: Path, archives: Path, originals: Path, names: Path, looked_at: Path) -> None:
    """Expand what is named, with one thread for each processor that this may use."""
    expansion = Expansion(root, archives, originals, names, looked_at)
    # What they are at when it ends is of no use any more.
    threads = [threading.Thread(target=expansion.run, daemon=True) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    with suppress(FileNotFoundError):
        while any(thread.is_alive() for thread in threads) or expansion.ready or expansion.placed:
            expansion.place()
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:6]))
