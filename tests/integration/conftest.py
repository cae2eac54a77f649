"""What several files of these tests need besides hosts: a private engine of the operator's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.engine import Engine
from deployer.engine.private import PrivateEngine
from freehold.console import Console
from freehold.process import LocalRunner
from tests.rig import Rig


@pytest.fixture(scope="module")
def engine_folder() -> Iterator[Path]:
    """Short, as a Unix socket's path has 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="fh-", ignore_cleanup_errors=False) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def engine(rig: Rig, engine_folder: Path) -> Iterator[Engine]:
    """A private engine, started and ended by the product's own helper."""
    assert rig is not None, "the rig says first whether this machine can run such tests"
    private = PrivateEngine(
        engine_folder / "cache", engine_folder / "run", LocalRunner(), Console(quiet=True)
    )
    with private.share() as shared:
        yield shared
