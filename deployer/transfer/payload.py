"""What travels: pieces of compressed archive in a row, from memory and from the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deployer.transfer.layers import Layer


@dataclass(frozen=True)
class Payload:
    """`head`, the layers, `tail`. `raw` is how many bytes of layer archives it unpacks to."""

    head: bytes
    layers: tuple[Layer, ...]
    tail: bytes

    @property
    def total(self) -> int:
        """Bytes on the wire."""
        return len(self.head) + sum(layer.packed for layer in self.layers) + len(self.tail)

    @property
    def raw(self) -> int:
        """Bytes of the layers once they are unpacked."""
        return sum(layer.size for layer in self.layers)

    @property
    def name(self) -> str:
        """The same for the same bytes: an upload that broke off is continued by this name."""
        parts: Sequence[str] = (
            hashlib.sha256(self.head).hexdigest(),
            *(f"{layer.digest}:{layer.packed}" for layer in self.layers),
            hashlib.sha256(self.tail).hexdigest(),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def chunks(self, offset: int = 0, progress: Callable[[int], None] | None = None) -> Iterator[bytes]:
        """The bytes from `offset` on; `progress` is told how many of all were handed out."""
        done = offset
        for chunk in self._from(offset):
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress(done)

    def _from(self, skip: int) -> Iterator[bytes]:
        pieces: tuple[bytes | Layer, ...] = (self.head, *self.layers, self.tail)
        for piece in pieces:
            size = len(piece) if isinstance(piece, bytes) else piece.packed
            if skip >= size:
                skip -= size
            elif isinstance(piece, bytes):
                yield piece[skip:]
                skip = 0
            else:
                yield from piece.chunks(skip)
                skip = 0
