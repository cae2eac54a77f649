"""Where Freehold keeps things on the operator's computer (XDG base directories)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def _directory(environ: Mapping[str, str], override: str, xdg: str, default: str) -> Path:
    if environ.get(override):
        return Path(environ[override]).absolute()
    base = environ.get(xdg)
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / default
    return root / "freehold"


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """What can be made again: images, layers. `FREEHOLD_CACHE` overrides."""
    return _directory(
        os.environ if environ is None else environ, "FREEHOLD_CACHE", "XDG_CACHE_HOME", ".cache"
    )


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """What must survive a reboot of the computer: labs, their keys. `FREEHOLD_STATE` overrides."""
    env = os.environ if environ is None else environ
    return _directory(env, "FREEHOLD_STATE", "XDG_STATE_HOME", ".local/state")


def runtime_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Sockets and pid files; short, as a Unix socket path has 108 bytes. `FREEHOLD_RUNTIME` overrides."""
    env = os.environ if environ is None else environ
    if env.get("FREEHOLD_RUNTIME"):
        return Path(env["FREEHOLD_RUNTIME"]).absolute()
    base = env.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return Path(base) / "freehold"
    return Path(tempfile.gettempdir()) / f"freehold-{os.getuid()}"
