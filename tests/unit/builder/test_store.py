"""Layers are complete or absent, whatever happens while they are made."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from builder import store as store_module
from builder.store import Store, digest, disk_free, written_by


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images", shutil.rmtree)


def make(store: Store, text: str, *, refresh: bool = False) -> bool:
    with store.make("layers", "abc", refresh=refresh) as work:
        if work.done:
            return False
        (work.path / "file").write_text(text)
    return True


def test_made_once_then_found(store: Store) -> None:
    assert store.find("layers", "abc") is None
    assert make(store, "one")
    found = store.find("layers", "abc")
    assert found is not None
    assert (found / "file").read_text() == "one"
    assert not make(store, "two")
    assert (found / "file").read_text() == "one"


def test_refresh_replaces(store: Store) -> None:
    make(store, "one")
    assert make(store, "two", refresh=True)
    found = store.find("layers", "abc")
    assert found is not None
    assert (found / "file").read_text() == "two"
    assert [path.name for path in store.all("layers")] == ["abc"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    with pytest.raises(error), store.make("layers", "abc") as work:
        (work.path / "file").write_text("half")
        raise error
    assert store.find("layers", "abc") is None
    assert [path.name for path in (store.root / "layers").iterdir()] == [".abc.lock"]


def test_failed_refresh_keeps_the_old_layer(store: Store) -> None:
    make(store, "one")
    with pytest.raises(ValueError, match="x"), store.make("layers", "abc", refresh=True) as work:
        (work.path / "file").write_text("half")
        raise ValueError("x")
    found = store.find("layers", "abc")
    assert found is not None
    assert (found / "file").read_text() == "one"


def test_leftovers_of_a_killed_process_are_removed(store: Store) -> None:
    script = f"""
import os, shutil
from pathlib import Path
from builder.store import Store
with Store(Path({str(store.root)!r}), shutil.rmtree).make("layers", "abc") as work:
    (work.path / "half").write_text("x")
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
    assert (store.root / "layers" / ".abc.new" / "half").exists()
    assert store.find("layers", "abc") is None
    assert make(store, "whole")
    found = store.find("layers", "abc")
    assert found is not None
    assert [path.name for path in found.iterdir()] == ["file"]


def test_two_at_once_make_it_once(store: Store) -> None:
    entered, release = threading.Event(), threading.Event()
    waited: list[bool] = []
    outcome: list[bool] = []

    def first() -> None:
        with store.make("layers", "abc") as work:
            entered.set()
            release.wait(30)
            (work.path / "file").write_text("first")

    def second() -> None:
        def waiting() -> None:
            waited.append(True)
            release.set()

        with store.make("layers", "abc", waiting=waiting) as work:
            outcome.append(work.done)

    one = threading.Thread(target=first)
    one.start()
    assert entered.wait(30)
    two = threading.Thread(target=second)
    two.start()
    one.join(30)
    two.join(30)
    assert waited == [True]
    assert outcome == [True]


def test_all_lists_finished_layers_newest_first(store: Store) -> None:
    for index, key in enumerate(("aaa", "bbb")):
        with store.make("layers", key) as work:
            (work.path / "x").touch()
        os.utime(store.root / "layers" / key, (index, index))
    (store.root / "layers" / ".ccc.new").mkdir()
    assert [path.name for path in store.all("layers")] == ["bbb", "aaa"]
    assert store.all("nothing") == ()


def test_digest_tells_inputs_apart() -> None:
    assert digest("a", "b") == digest("a", "b")
    assert len({digest("a", "b"), digest("ab"), digest("b", "a"), digest(["a", "b"]), digest(b"a", "b")}) == 5
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})


def test_disk_free_of_a_place_that_is_yet_to_be(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "a" / "b") > 0


def test_a_key_knows_who_writes_the_layer() -> None:
    """Whoever changes a module that writes has new layers without having to think of it."""
    here = Path(store_module.__file__).parent
    assert written_by("disk") != written_by("ext4")
    assert written_by("disk", "ext4") == written_by("ext4", "disk")
    source = (here / "disk.py").read_bytes()
    assert written_by("disk") == hashlib.sha256(f"disk {len(source)}\n".encode() + source).hexdigest()


def test_every_layer_names_its_writers() -> None:
    """A module that makes a key without them would go on taking what an older builder left."""
    here = Path(store_module.__file__).parent
    makers = [path for path in here.glob("*.py") if "store.make(" in path.read_text()]
    assert len(makers) == 6
    assert [path.name for path in makers if "written_by(" not in path.read_text()] == []


def test_what_the_disk_does_not_take_is_no_layer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store_module.to_disk(Path("/"))
    with pytest.raises(FileNotFoundError):
        store_module.to_disk(store.root / "none")

    def failing(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(store_module, "to_disk", failing)
    with pytest.raises(OSError, match="Input/output error"):
        make(store, "lost")
    assert store.find("layers", "abc") is None
    assert store.all("layers") == ()
