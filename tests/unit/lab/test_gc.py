"""What crashed runs left: found by their notes; the labs of other states and of other commands stay."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold.errors import FreeholdError
from freehold.process import LocalRunner
from lab import runtime
from lab.gc import Leftovers, collect, leftovers
from lab.locks import locked
from lab.places import lab_dir, lab_runtime
from tests.unit.lab.programs import running


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


@contextmanager
def up(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A lab that is up as far as this computer can tell: its directories, and a process like its switch's."""
    lab_dir(name).mkdir(parents=True)
    folder = runtime.claim(name) / "lan"
    folder.mkdir()
    command = [sys.executable, "-c", "import time; time.sleep(60)", "lab.switchd", str(folder)]
    with running(command) as process:
        yield process


def look(tmp_path: Path) -> Leftovers:
    # A libvirt of this computer is no part of it.
    return leftovers({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_a_lab_that_is_gone_leaves_nothing_after_it(tmp_path: Path) -> None:
    with up("shop") as process:
        shutil.rmtree(lab_dir("shop"))
        found = look(tmp_path)
        assert f"directory {lab_runtime('shop')}" in found.everything
        assert any(f"process {process.pid} " in line for line in found.everything)
        assert collect(found, LocalRunner()) == {}
        assert process.wait(10) != 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_labs_of_this_state_and_of_another_are_no_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with up("shop") as own:
        monkeypatch.setenv("FREEHOLD_STATE", str(tmp_path / "other"))
        with up("shop") as other:
            shutil.rmtree(lab_dir("shop"))
            monkeypatch.setenv("FREEHOLD_STATE", str(tmp_path / "state"))
            assert look(tmp_path).everything == ()
            assert (own.poll(), other.poll()) == (None, None)


def test_a_lab_that_another_command_makes_meanwhile_stays(tmp_path: Path) -> None:
    with up("shop") as process:
        shutil.rmtree(lab_dir("shop"))
        found = look(tmp_path)
        with locked("shop"):
            stays = collect(found, LocalRunner())
        assert set(stays) == set(found.everything)
        assert "another command is changing the lab shop" in stays[f"directory {lab_runtime('shop')}"]
        lab_dir("shop").mkdir()
        collect(found, LocalRunner())
        assert process.poll() is None


def test_no_libvirt_is_needed_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.daemon.which", lambda _name: None)
    assert look(tmp_path).everything == ()


def test_a_lab_is_not_kept_below_a_directory_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runtime").mkdir(mode=0o777)
    if os.geteuid() == 0:
        os.chown(tmp_path / "runtime", 65534, 65534)
    else:
        monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(FreeholdError, match="can be changed by other users"):
        runtime.claim("shop")
    assert list((tmp_path / "runtime").iterdir()) == []
