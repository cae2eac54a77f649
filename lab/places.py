"""Where labs are on this computer: their files, and the sockets of those that run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from freehold.paths import runtime_dir, state_dir


def labs_dir() -> Path:
    """Where all labs of this user are."""
    return state_dir() / "labs"


def lab_dir(name: str) -> Path:
    """Where one lab is."""
    return labs_dir() / name


def lab_runtime(name: str) -> Path:
    """Sockets of one lab: a short path, as a Unix socket's path has 108 bytes."""
    own = hashlib.sha256(str(lab_dir(name)).encode()).hexdigest()[:10]
    return runtime_dir() / own


def list_labs() -> tuple[str, ...]:
    """The names of all labs of this user, those that are half made included."""
    folder = labs_dir()
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
