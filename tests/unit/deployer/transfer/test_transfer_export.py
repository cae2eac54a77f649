"""Layers out of an engine by `docker image save`."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from deployer.engine import Engine
from deployer.transfer import LayerStore, LocalImage
from deployer.transfer.codec import Gzip
from deployer.transfer.export import Exporter
from freehold.console import Console
from freehold.process import LocalRunner
from tests.tarball import tarball

LAYER = b"a layer" * 100
DIFF_ID = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"
CONFIG = json.dumps({"rootfs": {"diff_ids": [DIFF_ID]}}).encode()


def saved() -> bytes:
    """What an engine with images in containerd saves: layers as they travel, and names of blobs."""
    manifest = [{"Config": "blobs/c", "RepoTags": None, "Layers": ["blobs/l"]}]
    files = {
        "blobs/c": CONFIG,
        "blobs/l": gzip.compress(LAYER),
        "manifest.json": json.dumps(manifest).encode(),
    }
    return tarball(files)


def test_an_image_is_asked_for_by_its_whole_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine with images in containerd takes an id without its algorithm for a name."""
    (tmp_path / "image.tar").write_bytes(saved())
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "docker"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in "image save sha256:"*) exec cat {tmp_path}/image.tar;; esac\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    engine = Engine("", "28.5.2", "amd64", "overlayfs", "containerd", tmp_path)
    image = LocalImage("own/shop:v1", f"sha256:{'d' * 64}", (DIFF_ID,), "amd64", len(LAYER))
    with LayerStore(tmp_path / "layers") as store:
        exporter = Exporter(engine, store, LocalRunner(), Console(quiet=True))
        assert set(exporter.layers(image, image.layers, Gzip())) == {DIFF_ID}
        assert exporter.config(image) == CONFIG
