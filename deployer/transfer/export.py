"""Layers out of the local engine into the cache: straight from its files, or by `docker save`."""

from __future__ import annotations

import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from deployer.engine import Engine
from deployer.transfer.archive import digest
from deployer.transfer.codec import CHUNK, Codec
from deployer.transfer.image import LocalImage
from deployer.transfer.layers import Layer, LayerStore
from deployer.transfer.tarsplit import assemble, assembled_size, layer_directories
from freehold.console import Console
from freehold.environment import which
from freehold.errors import BuildError
from freehold.process import Runner

SAVE_TIMEOUT = 1800.0


class Exporter:
    """Fills a LayerStore from one engine."""

    def __init__(self, engine: Engine, store: LayerStore, runner: Runner, console: Console) -> None:
        self.engine = engine
        self.store = store
        self._runner = runner
        self._console = console

    def layers(self, image: LocalImage, wanted: Sequence[str], codec: Codec) -> dict[str, Layer]:
        """The wanted layers (diffIDs) of an image, compressed. BuildError: the engine does not give them."""
        with self.store.lock:
            lacking = [d for d in dict.fromkeys(wanted) if self.store.find(d, codec.suffix) is None]
            if lacking and self._readable:
                lacking = [diff_id for diff_id in lacking if not self._read(image, diff_id, codec)]
            if lacking:
                self._save(image, lacking, codec)
            result = {}
            for diff_id in wanted:
                layer = self.store.find(diff_id, codec.suffix)
                if layer is None:
                    raise BuildError(
                        f"{image.reference} has no layer {diff_id}", hint="build the image again"
                    )
                result[diff_id] = layer
            self.store.prune()
        return result

    def config(self, image: LocalImage) -> bytes:
        """The image's configuration, byte for byte: its digest is the image's id in a graph driver."""
        with self.store.lock:
            known = self.store.config(image.id)
            if known is not None:
                return known
            if self._readable:
                name = image.id.removeprefix("sha256:")
                path = self.engine.data_root / "image" / self.engine.driver / "imagedb/content/sha256" / name
                try:
                    config = path.read_bytes()
                except OSError:
                    config = b""
                if config and digest(config) == image.id:
                    self.store.add_config(image.id, config)
                    return config
            self._save(image, (), None)
            known = self.store.config(image.id)
        if known is None:
            raise BuildError(f"the local Docker Engine gave no configuration of {image.reference}")
        return known

    def sizes(self, image: LocalImage, codec: Codec) -> dict[str, int]:
        """Bytes of each layer's archive, exporting those that are not known."""
        with self.store.lock:
            unknown = [layer for layer in image.layers if self.store.size(layer) is None]
            if unknown:
                self.layers(image, unknown, codec)
            return {layer: self.store.size(layer) or 0 for layer in image.layers}

    @property
    def _readable(self) -> bool:
        return not self.engine.remote and self.engine.store == "graph" and self.engine.driver == "overlay2"

    def _read(self, image: LocalImage, diff_id: str, codec: Codec) -> bool:
        """Take a layer from the engine's files. False: `docker save` has to do it."""
        position = image.layers.index(diff_id) + 1
        try:
            headers, files = layer_directories(
                self.engine.data_root, self.engine.driver, image.layers[:position]
            )
            self.store.add(diff_id, assembled_size(headers), assemble(headers, files), codec)
        except (OSError, ValueError, KeyError, BuildError) as exc:
            # The layout is Docker's own affair; `docker save` is the agreed way, only slower.
            self._console.detail(f"layer {diff_id[:19]} is not read from {self.engine.data_root}: {exc}")
            return False
        return True

    def _save(self, image: LocalImage, wanted: Sequence[str], codec: Codec | None) -> None:
        archive_form = ("--format", "docker-archive") if self.engine.program == "podman" else ()
        # By id: the name may stand for the image of another architecture by now.
        self._console.detail(f"saving {image.reference} from the local engine")
        with tempfile.TemporaryFile(prefix="freehold-save-", dir=self._scratch()) as target:
            self._runner.run(
                (self.engine.program, "image", "save", *archive_form, image.id),
                env=self.engine.env,
                stdout_to=target,
                timeout=SAVE_TIMEOUT,
            )
            target.seek(0)
            with tarfile.open(fileobj=target, mode="r:") as archive:
                self._take(archive, image, wanted, codec)

    def _scratch(self) -> Path:
        self.store.root.mkdir(parents=True, exist_ok=True)
        return self.store.root

    def _take(
        self, archive: tarfile.TarFile, image: LocalImage, wanted: Sequence[str], codec: Codec | None
    ) -> None:
        manifest = json.loads(_open(archive, "manifest.json").read())[0]
        config = _open(archive, manifest["Config"]).read()
        self.store.add_config(image.id, config)
        if codec is None:
            return
        names = dict(zip(json.loads(config)["rootfs"]["diff_ids"], manifest["Layers"], strict=True))
        for diff_id in wanted:
            with _open(archive, names[diff_id]) as stream:
                packed = stream.read(4)
            size = sum(len(chunk) for chunk in self._plain(archive, names[diff_id], packed))
            self.store.add(diff_id, size, self._plain(archive, names[diff_id], packed), codec)

    def _plain(self, archive: tarfile.TarFile, name: str, magic: bytes) -> Iterator[bytes]:
        """A layer's archive, decompressed: engines that keep images in containerd save what they pulled."""
        with _open(archive, name) as stream:
            if magic[:2] == b"\x1f\x8b":
                yield from _gunzip(stream)
            elif magic == b"\x28\xb5\x2f\xfd":
                yield from self._unzstd(stream)
            else:
                while chunk := stream.read(CHUNK):
                    yield chunk

    def _unzstd(self, stream: IO[bytes]) -> Iterator[bytes]:
        if which("zstd") is None:
            raise BuildError("a layer is compressed by zstd, which is not installed", hint="install zstd")
        with (
            tempfile.TemporaryFile(dir=self._scratch()) as packed,
            tempfile.TemporaryFile(dir=self._scratch()) as plain,
        ):
            while chunk := stream.read(CHUNK):
                packed.write(chunk)
            packed.seek(0)
            self._runner.run(("zstd", "-dcq"), stdin=packed, stdout_to=plain)
            plain.seek(0)
            while chunk := plain.read(CHUNK):
                yield chunk


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    # Docker 20.10 writes a layer that occurs twice as a symbolic link; extractfile follows it.
    try:
        stream = archive.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise BuildError(f"`docker image save` wrote no {name}", hint="build the image again")
    return stream


def _gunzip(stream: IO[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    while chunk := stream.read(CHUNK):
        yield decoder.decompress(chunk)
    yield decoder.flush()
