"""Compression by the system's libzstd, in this process: calls release the interpreter, so threads run beside
each other. The library is there wherever dpkg or qemu-img are.
"""

from __future__ import annotations

import ctypes
from functools import cache

from freehold.errors import BuildError

LIBRARY = "libzstd.so.1"


@cache
def _library() -> ctypes.CDLL:
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError as exc:
        raise BuildError(f"{LIBRARY} cannot be loaded: {exc}", hint="apt-get install libzstd1") from exc
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    found.ZSTD_createCCtx.restype = pointer
    found.ZSTD_freeCCtx.argtypes = [pointer]
    found.ZSTD_compressBound.restype, found.ZSTD_compressBound.argtypes = size, [size]
    found.ZSTD_compressCCtx.restype = size
    found.ZSTD_compressCCtx.argtypes = [pointer, pointer, size, ctypes.c_char_p, size, ctypes.c_int]
    found.ZSTD_isError.argtypes = [size]
    return found


class Compressor:
    """Makes one frame of each block; blocks have at most `block` bytes. For one thread at a time."""

    def __init__(self, block: int, level: int) -> None:
        self._zstd, self._level = _library(), level
        self._room = int(self._zstd.ZSTD_compressBound(block))
        self._buffer = ctypes.create_string_buffer(self._room)
        self._context = self._zstd.ZSTD_createCCtx()
        if not self._context:
            raise BuildError("libzstd has no memory for a compressor")

    def compress(self, data: bytes) -> bytes:
        """`data` as a frame; the same bytes for the same data, level and release of libzstd."""
        size = self._zstd.ZSTD_compressCCtx(
            self._context, self._buffer, self._room, data, len(data), self._level
        )
        if self._zstd.ZSTD_isError(size):
            raise BuildError(f"libzstd could not compress {len(data)} bytes")
        return ctypes.string_at(self._buffer, size)

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._zstd.ZSTD_freeCCtx(self._context)
