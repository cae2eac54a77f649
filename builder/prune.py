"""Old layers out of the cache. What is in use, or was used lately, stays."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder.installed import installed
from builder.store import Store, used_mark

# Every kind of layer; the order is that of making, so that nothing stays whose base went.
KINDS = ("packages", "configured", "images", "trees", "bases", "formats", "installers")
ARCHIVES = "archives"
# A lab's state names its images in small files; larger ones are disks.
SMALL = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A finished layer. `used` in seconds since 1970; `size` in bytes on the disk."""

    path: Path
    used: float
    size: int

    @property
    def name(self) -> str:
        """`images/0123…`"""
        return f"{self.path.parent.name}/{self.path.name}"


def layers(store: Store) -> list[Layer]:
    """Every finished layer."""
    found = []
    for kind in KINDS:
        for path in store.all(kind):
            mark = used_mark(path)
            used = max(entry.stat().st_mtime for entry in (path, mark) if entry.exists())
            found.append(Layer(path, used, _size(path)))
    return found


def _size(path: Path) -> int:
    total = 0
    for entry in path.rglob("*"):
        try:
            total += entry.lstat().st_blocks * 512
        except OSError:
            # Belongs to a mapped user: it is removed all the same, and counted for nothing.
            continue
    return total


def mentions(places: Iterable[Path]) -> str:
    """All small files below `places` as one text: a layer whose key is in there is in use."""
    texts = []
    for place in places:
        files = [place] if place.is_file() else sorted(place.rglob("*")) if place.is_dir() else []
        for file in files:
            try:
                if file.is_file() and not file.is_symlink() and file.stat().st_size < SMALL:
                    texts.append(file.read_text(errors="replace"))
            except OSError:
                continue
    return "\n".join(texts)


def outdated(found: Iterable[Layer], before: float, in_use: str) -> list[Layer]:
    """The layers that nobody asked for since `before` (seconds), and that `in_use` does not mention."""
    return [layer for layer in found if layer.used < before and layer.path.name not in in_use]


def prune(store: Store, chosen: Iterable[Layer]) -> list[Layer]:
    """Remove layers; those that a build holds stay. Returns what was removed."""
    gone = []
    for layer in chosen:
        lock = layer.path.with_name(f".{layer.path.name}.lock")
        with lock.open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # Renamed first: a reader finds the whole layer or none.
            doomed = layer.path.with_name(f".{layer.path.name}.old")
            layer.path.rename(doomed)
            store.remove(doomed)
            used_mark(layer.path).unlink(missing_ok=True)
            gone.append(layer)
    return gone


def stale_archives(store: Store) -> list[Path]:
    """Downloaded packages that no remaining layer is made of."""
    wanted = set()
    for path in store.all("packages"):
        status = path / "status"
        if status.is_file():
            for package in installed(status.read_text(errors="replace")):
                version = package.version.replace(":", "%3a")
                wanted.add(f"{package.name}_{version}_{package.arch}.deb")
    folder = store.root / ARCHIVES
    return [path for path in sorted(folder.glob("*.deb")) if path.name not in wanted]
