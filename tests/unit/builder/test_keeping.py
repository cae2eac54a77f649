"""Signatures and the cache's old layers, with real keys and real directories."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
from pathlib import Path

import pytest

from builder import keepcli
from builder.manifest import sums
from builder.prune import layers, mentions, outdated, prune, stale_archives
from builder.signing import SIGNATURE, check_sums, sign, verify
from builder.store import Store, used_mark
from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import BuildError, UsageError
from freehold.process import LocalRunner

RUNNER = LocalRunner()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "disk.qcow2").write_bytes(b"disk")
    (folder / "SHA256SUMS").write_text(sums(folder, ("disk.qcow2",)))
    return folder


def key(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    RUNNER.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path))
    return path


def test_a_signature_names_its_signer_and_fails_for_another(image: Path, tmp_path: Path) -> None:
    mine, other = key(tmp_path, "mine"), key(tmp_path, "other")
    signers, strangers = tmp_path / "signers", tmp_path / "strangers"
    signers.write_text(f"ops@example.com {mine.with_suffix('.pub').read_text()}")
    strangers.write_text(f"other@example.com {other.with_suffix('.pub').read_text()}")
    with pytest.raises(BuildError, match="not signed"):
        verify(image, signers, RUNNER)
    sign(image, mine, RUNNER)
    assert verify(image, signers, RUNNER).signer == "ops@example.com"
    with pytest.raises(BuildError, match="by nobody"):
        verify(image, strangers, RUNNER)
    (image / "disk.qcow2").write_bytes(b"dusk")
    with pytest.raises(BuildError, match="is not what SHA256SUMS says"):
        verify(image, signers, RUNNER)
    # Sums that fit a changed disk do not fit the signature.
    (image / "SHA256SUMS").write_text(sums(image, ("disk.qcow2",)))
    with pytest.raises(BuildError, match="is not good"):
        verify(image, signers, RUNNER)
    sign(image, mine, RUNNER)
    assert (image / SIGNATURE).is_file() and verify(image, signers, RUNNER).files == ("disk.qcow2",)


def test_a_check_says_what_it_found_in_the_form_asked_for(image: Path) -> None:
    def said(*words: str) -> str:
        out = io.StringIO()
        assert run(keepcli.verify, [str(image), *words], Context(console=Console(out=out))) == 0
        return out.getvalue()

    assert said() == f"{image}: 1 files are what they should be\n"
    assert json.loads(said("--json")) == {"directory": str(image), "files": ["disk.qcow2"], "signer": ""}


def test_sums_name_files_of_their_own_directory(image: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    (image / "SHA256SUMS").write_text(f"{'0' * 64}  ../outside\n")
    with pytest.raises(BuildError, match="not there"):
        check_sums(image)
    with pytest.raises(UsageError, match="no SHA256SUMS"):
        check_sums(tmp_path)
    with pytest.raises(UsageError, match="no key"):
        sign(image, tmp_path / "missing", RUNNER)


def made(store: Store, kind: str, key: str, used: float) -> Path:
    with store.make(kind, key) as work:
        (work.path / "file").write_bytes(b"x" * 5000)
    path = store.root / kind / key
    for entry in (path, used_mark(path)):
        if entry == used_mark(path):
            entry.touch()
        os.utime(entry, (used, used))
    return path


def test_prune_keeps_what_is_used(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", shutil.rmtree)
    old, new = made(store, "images", "old", 1000), made(store, "images", "new", 3000)
    lab, busy = made(store, "images", "labs", 1000), made(store, "packages", "busy", 1000)
    state = tmp_path / "state"
    (state / "lab").mkdir(parents=True)
    (state / "lab/state.json").write_text(f'{{"image": "{lab}/disk.qcow2"}}')
    chosen = outdated(layers(store), 2000, mentions((state,)))
    assert {layer.name for layer in chosen} == {"images/old", "packages/busy"}
    with (busy.parent / ".busy.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [layer.name for layer in prune(store, chosen)] == ["images/old"]
    assert not old.exists() and not used_mark(old).exists()
    assert new.is_dir() and lab.is_dir() and busy.is_dir()


def test_asking_for_a_layer_makes_it_young(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", shutil.rmtree)
    made(store, "images", "old", 1000)
    assert store.find("images", "old") is not None
    assert outdated(layers(store), 2000, "") == []


def test_archives_of_no_layer_are_stale(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", shutil.rmtree)
    path = made(store, "packages", "p", 1000)
    (path / "status").write_text(
        "Package: git\nStatus: install ok installed\nVersion: 1:2\nArchitecture: amd64\n"
    )
    archives = store.root / "archives"
    archives.mkdir()
    for name in ("git_1%3a2_amd64.deb", "git_1%3a1_amd64.deb"):
        (archives / name).touch()
    assert [found.name for found in stale_archives(store)] == ["git_1%3a1_amd64.deb"]
