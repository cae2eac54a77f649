from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.transfer import archive
from deployer.transfer.codec import Codec, Gzip, Zstd, packed
from deployer.transfer.image import familiar, normalized
from deployer.transfer.layers import LayerStore
from deployer.transfer.payload import Payload
from freehold.errors import BuildError
from freehold.process import LocalRunner

CONFIG = b'{"architecture":"amd64","rootfs":{"type":"layers"}}'
ONE, TWO = b"x" * 1000, b"y" * 512
LAYERS = (archive.digest(ONE), archive.digest(TWO))
CODECS: list[Codec] = [Gzip(), Zstd(LocalRunner())]


def unpack(codec: Codec, data: bytes) -> bytes:
    if codec.suffix == "gz":
        return gzip.decompress(data)
    return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.suffix)
def test_pieces_in_a_row_are_one_archive(tmp_path: Path, codec: Codec) -> None:
    store = LayerStore(tmp_path)
    layers = tuple(
        store.add(name, len(data), (data,), codec) for name, data in zip(LAYERS, (ONE, TWO), strict=True)
    )
    payload = Payload(
        packed(codec, archive.graph_head("app:v1", CONFIG, LAYERS)), layers[1:], packed(codec, archive.END)
    )
    data = b"".join(payload.chunks())
    assert len(data) == payload.total
    with tarfile.open(fileobj=io.BytesIO(unpack(codec, data))) as read:
        (image,) = json.load(read.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert image["RepoTags"] == ["app:v1"]
        assert read.extractfile(image["Config"]).read() == CONFIG  # type: ignore[union-attr]
        assert image["Layers"][0] not in read.getnames()
        assert read.extractfile(image["Layers"][1]).read() == TWO  # type: ignore[union-attr]


def test_the_index_for_containerd_names_what_is_in_the_archive() -> None:
    sizes = dict(zip(LAYERS, (len(ONE), len(TWO)), strict=True))
    manifest = archive.oci_manifest(CONFIG, LAYERS, sizes)
    with tarfile.open(
        fileobj=io.BytesIO(archive.head("containerd", "app:v1", CONFIG, LAYERS, sizes))
    ) as read:
        (entry,) = json.load(read.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
        assert entry["digest"] == archive.digest(manifest)
        assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/app:v1"
        stored = read.extractfile(archive.layer_name(entry["digest"])).read()  # type: ignore[union-attr]
        assert stored == manifest
        described = json.loads(stored)
        assert [layer["digest"] for layer in described["layers"]] == list(LAYERS)
        assert [layer["size"] for layer in described["layers"]] == [1000, 512]
        config = read.extractfile(archive.layer_name(described["config"]["digest"]))
        assert config is not None and config.read() == CONFIG


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("app:v1", "docker.io/library/app:v1"),
        ("me/app:v1", "docker.io/me/app:v1"),
        ("ghcr.io/me/app:v1", "ghcr.io/me/app:v1"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("localhost/app:v1", "localhost/app:v1"),
    ],
)
def test_names(short: str, full: str) -> None:
    assert normalized(short) == full
    assert familiar(full) == short


def test_a_damaged_layer_is_not_kept(tmp_path: Path) -> None:
    store = LayerStore(tmp_path)
    with pytest.raises(BuildError, match="damaged"):
        store.add(LAYERS[0], len(ONE), (ONE[:-1] + b"?",), Gzip())
    assert store.find(LAYERS[0], "gz") is None
    assert not list(tmp_path.glob(".*"))


def test_a_source_that_fails_is_told(tmp_path: Path) -> None:
    def broken() -> object:
        yield b"abc"
        raise OSError("gone")

    for codec in CODECS:
        with pytest.raises(OSError, match="gone"):
            LayerStore(tmp_path).add(LAYERS[0], len(ONE), broken(), codec)  # type: ignore[arg-type]


def kept(store: LayerStore) -> list[bool]:
    """Which of the two layers somebody else would find, who uses nothing himself."""
    with LayerStore(store.root) as other:
        return [other.find(layer, "gz") is not None for layer in LAYERS]


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    with LayerStore(tmp_path) as store:
        old = store.add(LAYERS[0], len(ONE), (ONE,), Gzip())
        new = store.add(LAYERS[1], len(TWO), (TWO,), Gzip())
        os.utime(old.file.fileno(), (1, 1))
    store.limit = new.packed
    assert store.prune() == old.packed
    assert kept(store) == [False, True]
    assert store.find(LAYERS[1], "gz") == new
    assert store.size(LAYERS[0]) == len(ONE), "a manifest needs the size of a layer that is gone, too"


def test_what_somebody_uses_stays_in_the_cache(tmp_path: Path) -> None:
    with LayerStore(tmp_path) as store:
        store.add(LAYERS[0], len(ONE), (ONE,), Gzip())
        store.add(LAYERS[1], len(TWO), (TWO,), Gzip())

    with LayerStore(tmp_path, limit=0) as mine, LayerStore(tmp_path, limit=0) as theirs:
        found = mine.find(LAYERS[0], "gz")
        assert found is not None
        theirs.prune()
        mine.prune()
        assert kept(mine) == [True, False]
        added = mine.add(LAYERS[1], len(TWO), (TWO,), Gzip())
        theirs.prune()
        assert kept(mine) == [True, True]
        payload = b"".join(Payload(b"", (found, added), b"").chunks())
        # Even one that is deleted by hand can be read to its end.
        for path in tmp_path.glob("*.gz"):
            path.unlink()
        assert b"".join(Payload(b"", (found, added), b"").chunks()) == payload
        assert ONE in gzip.decompress(payload) and TWO in gzip.decompress(payload)


def test_a_layer_that_is_being_written_is_not_removed(tmp_path: Path) -> None:
    def content() -> Iterator[bytes]:
        yield ONE[:500]
        with LayerStore(tmp_path, limit=0) as other:
            other.prune()
        yield ONE[500:]

    with LayerStore(tmp_path) as store:
        store.add(LAYERS[0], len(ONE), content(), Gzip())
        assert kept(store) == [True, False]


@settings(max_examples=60, deadline=None)
@given(
    head=st.binary(max_size=50),
    tail=st.binary(max_size=50),
    body=st.lists(st.binary(min_size=1, max_size=300), max_size=3),
    share=st.floats(0, 1),
)
def test_a_payload_goes_on_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, tail: bytes, body: list[bytes], share: float
) -> None:
    store = LayerStore(tmp_path_factory.mktemp("layers"))
    layers = tuple(store.add(archive.digest(data), len(data), (data,), Gzip()) for data in body)
    payload = Payload(head, layers, tail)
    whole = b"".join(payload.chunks())
    offset = int(share * len(whole))
    counts: list[int] = []
    assert b"".join(payload.chunks(offset, counts.append)) == whole[offset:]
    assert (counts[-1] if counts else offset) == len(whole)


def test_other_bytes_are_another_payload(tmp_path: Path) -> None:
    layer = LayerStore(tmp_path).add(LAYERS[0], len(ONE), (ONE,), Gzip())
    names = {
        Payload(b"h", (layer,), b"t").name,
        Payload(b"i", (layer,), b"t").name,
        Payload(b"h", (), b"t").name,
        Payload(b"h", (layer,), b"u").name,
    }
    assert len(names) == 4
