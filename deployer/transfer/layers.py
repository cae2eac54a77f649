"""The local cache of compressed layers, found by diffID.

A file holds one layer as it stands in the archive (tar header, content, padding), compressed. Its
name tells the layer, its size in bytes and a digest of the compressed bytes, so that the directory
is its own index: `<diffID>.<size>.<digest>.<codec>`.

Several commands share the directory. A layer that one of them uses is open there under a shared
lock; nobody removes such a file, and it can be read to its end whatever happens to its name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from deployer.transfer.archive import header, layer_name, padding
from deployer.transfer.codec import CHUNK, Codec
from freehold.errors import BuildError
from freehold.files import new_private_dir, replace_atomically, write_atomic

LIMIT = 4 * 1000**3


@dataclass(frozen=True)
class Layer:
    """A layer in the cache: `size` of its archive, `packed` bytes on the wire, `digest` of these.

    `file` holds these bytes, open until the store is closed.
    """

    diff_id: str
    size: int
    packed: int
    digest: str
    file: BinaryIO = field(repr=False, compare=False)

    def chunks(self, offset: int) -> Iterator[bytes]:
        """The bytes on the wire from `offset` on; several threads may read at once."""
        while chunk := os.pread(self.file.fileno(), CHUNK, offset):
            yield chunk
            offset += len(chunk)


class LayerStore:
    """Compressed layers and image configurations below `root`. Safe to use from several threads.

    What was found or added is kept until the store is closed.
    """

    def __init__(self, root: Path, *, limit: int = LIMIT) -> None:
        self.root = root
        self.limit = limit
        self.lock = threading.RLock()
        self._used: dict[tuple[str, str], Layer] = {}
        self._files = ExitStack()

    def __enter__(self) -> LayerStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Use nothing any more."""
        self._used.clear()
        self._files.close()

    def find(self, diff_id: str, suffix: str) -> Layer | None:
        """The layer, where it is here; it counts as used now."""
        name = diff_id.removeprefix("sha256:")
        with self.lock:
            if (diff_id, suffix) in self._used:
                return self._used[diff_id, suffix]
            for path in sorted(self.root.glob(f"{name}.*.{suffix}")):
                with suppress(OSError, ValueError):
                    _, size, digest, _ = path.name.split(".")
                    file = path.open("rb")
                    self._hold(file)
                    status = os.fstat(file.fileno())
                    if not status.st_nlink:
                        # Removed by another command just before it was locked.
                        continue
                    os.utime(path)
                    return self._use(Layer(diff_id, int(size), status.st_size, digest, file), suffix)
        return None

    def _hold(self, file: BinaryIO) -> None:
        self._files.enter_context(file)
        # A file system without locks keeps what is open readable all the same.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)

    def _use(self, layer: Layer, suffix: str) -> Layer:
        self._used[layer.diff_id, suffix] = layer
        return layer

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
            # The lock is on the file, and stays there when it gets its name.
            file = temporary.open("wb+")
            with self.lock:
                self._hold(file)
            codec.pack(self._member(diff_id, size, check), temporary)
            if check.digest() != name or check.size != size:
                raise BuildError(
                    f"layer {diff_id} came out of the local Docker Engine damaged",
                    hint="remove the image from the local engine and build it again",
                )
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            packed = os.fstat(file.fileno()).st_size
            temporary.replace(self.root / f"{name}.{size}.{digest}.{codec.suffix}")
        finally:
            temporary.unlink(missing_ok=True)
        write_atomic(self.root / "sizes" / name, str(size))
        with self.lock:
            return self._use(Layer(diff_id, size, packed, digest, file), codec.suffix)

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
        """Remove what was not used for longest until the rest fits the limit; returns bytes removed.

        What is in use stays, here and by other commands, though it be more than the limit.
        """
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
            # Not for reading only: some network file systems lock alone what could be written.
            with suppress(OSError), path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
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
