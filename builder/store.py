"""The cache of layers: directories named by what went into them, complete or absent."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

KEY_LENGTH = 20


def digest(*parts: Any) -> str:
    """A key for `parts` (JSON values, bytes): 80 bits, in hex, stable between runs and machines."""
    total = hashlib.sha256(b"freehold layer\n")
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        total.update(f"{len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()[:KEY_LENGTH]


@cache
def written_by(*modules: str) -> str:
    """SHA-256 of the source of these modules of `builder`, in hex.

    Part of the key of each layer that they write: what an older builder left in the cache is never taken for
    what this one makes. Scripts and commands that are part of a key themselves need no module here.
    """
    total = hashlib.sha256()
    for name in sorted(modules):
        source = resources.files("builder").joinpath(f"{name}.py").read_bytes()
        total.update(f"{name} {len(source)}\n".encode() + source)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Store:
    """Layers under `root`: `<kind>/<key>/`. `remove` deletes a tree that may belong to mapped users."""

    root: Path
    remove: Callable[[Path], None]

    def find(self, kind: str, key: str) -> Path | None:
        """The finished layer, or None. Notes that it was used."""
        path = self.root / kind / key
        if not path.is_dir():
            return None
        # A cache that this user may only read serves too.
        with suppress(OSError):
            used_mark(path).touch()
        return path

    def all(self, kind: str) -> tuple[Path, ...]:
        """Every finished layer of a kind, the newest first."""
        folder = self.root / kind
        if not folder.is_dir():
            return ()
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return tuple(sorted(found, key=lambda path: path.stat().st_mtime, reverse=True))

    @contextmanager
    def make(
        self, kind: str, key: str, *, refresh: bool = False, waiting: Callable[[], None] | None = None
    ) -> Iterator[Work]:
        """Yield where to make the layer; it takes its name when the block ends well.

        Another process that makes the same layer is waited for (`waiting` is called once), and what it
        made is used: then `Work.done` is true and there is nothing to do. Leftovers of a process that
        was killed are removed here.
        """
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        final, temporary = folder / key, folder / f".{key}.new"
        with (folder / f".{key}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waited = False
            except BlockingIOError:
                waited = True
                if waiting is not None:
                    waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            if final.is_dir() and (waited or not refresh):
                yield Work(final, done=True)
                return
            for leftover in (temporary, folder / f".{key}.old"):
                if leftover.exists():
                    self.remove(leftover)
            temporary.mkdir()
            try:
                yield Work(temporary, done=False)
                # A power cut must not leave a name with half of a layer behind it.
                to_disk(temporary)
                if final.is_dir():
                    # Moved aside first: a reader sees the old layer, none, or the new one, never a mixture.
                    old = folder / f".{key}.old"
                    final.rename(old)
                    temporary.rename(final)
                    self.remove(old)
                else:
                    temporary.rename(final)
            except BaseException:
                self.remove(temporary)
                raise


@dataclass(frozen=True)
class Work:
    """A layer in the making, or (`done`) one that is there already."""

    path: Path
    done: bool


def to_disk(path: Path) -> None:
    """Have everything that was written to the file system of `path` on its disk (syncfs(2)); OSError if not.

    Once for a whole tree: fsync(2) for each of its files takes many times as long.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def used_mark(layer: Path) -> Path:
    """The file whose date says when a layer was last asked for."""
    return layer.with_name(f".{layer.name}.used")


def disk_free(path: Path) -> int:
    """Bytes that this user may still write where `path` is or will be."""
    place = path
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize
