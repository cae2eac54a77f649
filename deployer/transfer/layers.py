"""The local cache of compressed layers, found by diffID.

A file holds one layer as it stands in the archive (tar header, content, padding), compressed. Its
name tells the layer, its size in bytes and a digest of the compressed bytes, so that the directory
is its own index: `<diffID>.<size>.<digest>.<codec>`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployer.transfer.archive import header, layer_name, padding
from deployer.transfer.codec import Codec
from freehold.errors import BuildError
from freehold.files import new_private_dir, replace_atomically, write_atomic

LIMIT = 4 * 1000**3


@dataclass(frozen=True)
class Layer:
    """A layer in the cache: `size` of its archive, `packed` bytes on the wire, `digest` of these."""

    diff_id: str
    size: int
    packed: int
    digest: str
    path: Path


class LayerStore:
    """Compressed layers and image configurations below `root`. Safe to use from several threads."""

    def __init__(self, root: Path, *, limit: int = LIMIT) -> None:
        self.root = root
        self.limit = limit
        self.lock = threading.RLock()

    def find(self, diff_id: str, suffix: str) -> Layer | None:
        """The layer, where it is here; it counts as used now."""
        name = diff_id.removeprefix("sha256:")
        for path in sorted(self.root.glob(f"{name}.*.{suffix}")):
            with suppress(OSError, ValueError):
                _, size, digest, _ = path.name.split(".")
                os.utime(path)
                return Layer(diff_id, int(size), path.stat().st_size, digest, path)
        return None

    def size(self, diff_id: str) -> int | None:
        """Bytes of a layer's archive, where it is known."""
        with suppress(OSError, ValueError):
            return int((self.root / "sizes" / diff_id.removeprefix("sha256:")).read_text())
        return None

    def add(self, diff_id: str, size: int, chunks: Iterable[bytes], codec: Codec) -> Layer:
        """Keep a layer. BuildError: the content is not what its name says."""
        new_private_dir(self.root)
        name = diff_id.removeprefix("sha256:")
        check = _Check(chunks)
        temporary = self.root / f".{name}.{codec.suffix}.{os.getpid()}.{threading.get_ident()}"
        try:
            codec.pack(self._member(diff_id, size, check), temporary)
            if check.digest() != name or check.size != size:
                raise BuildError(
                    f"layer {diff_id} came out of the local Docker Engine damaged",
                    hint="remove the image from the local engine and build it again",
                )
            digest = _digest(temporary)
            target = self.root / f"{name}.{size}.{digest}.{codec.suffix}"
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        write_atomic(self.root / "sizes" / name, str(size))
        return Layer(diff_id, size, target.stat().st_size, digest, target)

    @staticmethod
    def _member(diff_id: str, size: int, content: Iterable[bytes]) -> Iterator[bytes]:
        yield header(layer_name(diff_id), size)
        yield from content
        yield padding(size)

    def config(self, image_id: str) -> bytes | None:
        """The configuration of an image that was exported before, by the local engine's id of the image."""
        with suppress(OSError):
            return (self.root / "configs" / image_id.removeprefix("sha256:")).read_bytes()
        return None

    def add_config(self, image_id: str, config: bytes) -> None:
        """Keep the configuration of an image."""
        new_private_dir(self.root)
        with replace_atomically(self.root / "configs" / image_id.removeprefix("sha256:")) as path:
            path.write_bytes(config)

    def prune(self) -> int:
        """Remove what was not used for longest until the rest fits the limit; returns bytes removed."""
        found = []
        for path in self.root.glob("*.*.*.*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        removed = 0
        for _, size, path in sorted(found):
            if total - removed <= self.limit:
                break
            path.unlink(missing_ok=True)
            removed += size
        return removed


class _Check:
    """Passes chunks on and remembers their digest and size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    def digest(self) -> str:
        return self._hash.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
