"""The root trees that hosts boot from: the golden image's own, as a directory."""

from __future__ import annotations

import os
from pathlib import Path

from freehold.console import Console
from freehold.process import Runner
from tests.rig.errors import RigError

OVERRIDE = "FREEHOLD_RIG_TREE_"


def golden(suite: str, *, runner: Runner, console: Console) -> Path:
    """The prepared host of a Debian suite as a read-only directory, built on first use.

    `FREEHOLD_RIG_TREE_<SUITE>` names another tree, to try one out.
    """
    return _given(suite) or _build(suite, runner, console)


def _given(suite: str) -> Path | None:
    name = OVERRIDE + suite.upper()
    value = os.environ.get(name)
    if not value:
        return None
    path = Path(value)
    if not (path / "usr/lib/systemd/systemd").exists():
        raise RigError(f"{path} is not a root tree", hint=f"it was named by {name}")
    return path.absolute()


def _build(suite: str, runner: Runner, console: Console) -> Path:
    from builder.image import build_tree
    from builder.spec import ImageSpec

    return build_tree(ImageSpec(suite=suite), runner=runner, console=console)


def plain(suite: str, *, runner: Runner, console: Console) -> Path:
    """Debian with systemd, sshd and Python only, as a provider's image is before anything is done to it."""
    from tests.rig.plain import build_plain

    return build_plain(suite, runner=runner, console=console)
