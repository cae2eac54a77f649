"""Compression of the pieces of an archive: zstd where both ends have it, gzip everywhere."""

from __future__ import annotations

import gzip
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from os import fdopen, pipe
from pathlib import Path
from typing import Protocol

from freehold.environment import which
from freehold.process import Runner

CHUNK = 1 << 18


class Codec(Protocol):
    """How pieces are compressed. `suffix` names it on both ends, `decoder` is the host's command."""

    @property
    def suffix(self) -> str: ...
    @property
    def decoder(self) -> str: ...

    def pack(self, chunks: Iterable[bytes], target: Path) -> None:
        """Compress `chunks` into the file `target`, as one piece."""
        ...


@dataclass(frozen=True)
class Zstd:
    """By the program zstd."""

    runner: Runner
    suffix: str = "zst"
    decoder: str = "zstd -dcq"

    def pack(self, chunks: Iterable[bytes], target: Path) -> None:
        """Compress as one frame; what the iterable raises is raised here."""
        failure: list[BaseException] = []
        read, write = pipe()

        def feed() -> None:
            with fdopen(write, "wb") as stream:
                try:
                    for chunk in chunks:
                        stream.write(chunk)
                except BrokenPipeError:
                    pass
                except BaseException as exc:
                    failure.append(exc)

        thread = threading.Thread(target=feed, daemon=True)
        with fdopen(read, "rb") as source, target.open("wb") as out:
            thread.start()
            try:
                self.runner.run(("zstd", "-q", "-c", "-3", "-T0"), stdin=source, stdout_to=out)
            finally:
                source.close()
                thread.join()
        if failure:
            raise failure[0]


@dataclass(frozen=True)
class Gzip:
    """By Python itself; the host needs gzip only."""

    suffix: str = "gz"
    decoder: str = "gzip -dc"

    def pack(self, chunks: Iterable[bytes], target: Path) -> None:
        """Compress as one member without a time."""
        with (
            target.open("wb") as out,
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as packed,
        ):
            for chunk in chunks:
                packed.write(chunk)


def choose(host_has_zstd: bool, runner: Runner) -> Codec:
    """The better one that both ends have."""
    return Zstd(runner) if host_has_zstd and which("zstd") is not None else Gzip()


def packed(codec: Codec, data: bytes) -> bytes:
    """A small piece, compressed."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        target = Path(folder) / "piece"
        codec.pack((data,), target)
        return target.read_bytes()
