"""The engine that the operator gets where none runs: shared, ended by its last user, replaced when dead."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from deployer.engine import Engine, local_engine
from deployer.engine.private import PrivateEngine
from freehold.console import Console
from freehold.process import LocalRunner
from tests.rig import Rig

RUNNER = LocalRunner()
CONSOLE = Console(quiet=True)


def test_the_private_engine_ends_with_its_last_user(rig: Rig, engine_folder: Path) -> None:
    assert rig is not None
    private = PrivateEngine(engine_folder / "c2", engine_folder / "r2", RUNNER, CONSOLE)
    # Another runtime directory, as under sudo: the storage is what two engines must not share.
    other = PrivateEngine(engine_folder / "c2", engine_folder / "other" / "r2", RUNNER, CONSOLE)
    with private.share() as first:
        pid = private.pid()
        assert pid is not None and first.private
        with other.share() as second:
            assert second == first
            assert other.pid() == pid
        assert private.pid() == pid
    assert private.pid() is None
    assert not Path(f"/proc/{pid}").exists()
    assert str(engine_folder / "r2") not in Path("/proc/self/mountinfo").read_text()


def test_a_private_engine_that_was_killed_is_replaced(rig: Rig, engine_folder: Path) -> None:
    assert rig is not None
    private = PrivateEngine(engine_folder / "c3", engine_folder / "r3", RUNNER, CONSOLE)
    with private.share():
        pid = private.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while private.pid() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    with private.share() as engine:
        assert private.pid() not in (None, pid)
        assert RUNNER.run(("docker", "image", "ls"), env=engine.env).returncode == 0
    assert str(engine_folder / "r3") not in Path("/proc/self/mountinfo").read_text()


def test_the_environment_decides_which_engine(engine: Engine) -> None:
    with local_engine(
        runner=RUNNER, console=CONSOLE, environ={**os.environ, "DOCKER_HOST": engine.host}
    ) as found:
        assert found == replace(engine, private=False)
