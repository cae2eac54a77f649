"""What several files of these tests need besides hosts: a private engine, a registry of the operator's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.engine import Engine
from deployer.engine.private import PrivateEngine
from freehold.console import Console
from freehold.process import LocalRunner
from tests.conftest import cannot_run, program
from tests.integration.app import images
from tests.integration.app.registry import PASSWORD, USER, Registry, trusting
from tests.rig import Host, Rig


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


@pytest.fixture
def registry(
    rig: Rig, hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """The registry, trusted by hosts and operator, with the base image of the application in it."""
    if not program("docker-registry").exists():
        cannot_run("integration", "`make setup` did not leave .venv/bin/docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    made = Registry(rig, folder, f"{rig.subnet[2]}:5000")
    settings = rig.home / ".config" / "docker" / "daemon.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({"insecure-registries": [made.server]}))
    first, second = hosts
    with made.running(), trusting(first, made.server), trusting(second, made.server):
        images.build(first, "v1")
        login = f"docker login --username {USER} --password-stdin {made.server}"
        base = f"{made.server}/base/app:1"
        first.exec(
            f"{login} && docker tag {images.APP} {base} && docker push --quiet {base} && "
            f"docker tag {images.APP} {made.server}/own/shop:foreign && "
            f"docker push --quiet {made.server}/own/shop:foreign && "
            f"docker image rm {base} {made.server}/own/shop:foreign && docker logout {made.server}",
            stdin=PASSWORD,
            timeout=120,
        )
        yield made
    settings.unlink()
