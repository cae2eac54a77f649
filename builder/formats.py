"""A golden image in other forms: raw, with a seed inside, as a Vagrant box. Each is a layer of the cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from builder import box
from builder.assemble import check_space, run_tool
from builder.image import Image, store_of
from builder.manifest import sums
from builder.qcow2 import write_qcow2
from builder.sandbox import Sandbox
from builder.seeded import inject
from builder.store import digest, written_by
from freehold.console import Console
from freehold.errors import BuildError
from freehold.files import replace_atomically
from freehold.process import Runner

KIND = "formats"
Format = Literal["qcow2", "raw", "vagrant"]
FORMATS: tuple[Format, ...] = ("qcow2", "raw", "vagrant")
NAMES: Mapping[Format, str] = {"qcow2": "disk.qcow2", "raw": "disk.raw", "vagrant": "freehold.box"}


def make_format(
    image: Image,
    wanted: Format,
    *,
    runner: Runner,
    console: Console,
    seed: Mapping[str, bytes] | None = None,
    cache: Path | None = None,
) -> Path:
    """The image as `wanted`, from the cache or made now. `seed` (name → content) is put inside.

    A Vagrant box brings its own seed. Raises BuildError.
    """
    if wanted == "vagrant":
        seed = box.seed_files()
    if wanted == "qcow2" and seed is None:
        return image.qcow2
    store = store_of(Sandbox.here(runner), cache)
    inputs = {name: data.decode() for name, data in (seed or {}).items()}
    key = digest(
        image.key, wanted, inputs, written_by("assemble", "box", "formats", "qcow2", "seeded", "zstd")
    )
    if store.find(KIND, key) is None:
        check_space(store.root, image.virtual_size)
        with store.make(KIND, key) as work:
            if not work.done:
                with console.step(f"writing the image as {wanted}"):
                    _make(work.path, image, wanted, seed, runner)
    found = store.find(KIND, key)
    assert found is not None
    return found / NAMES[wanted]


def _make(work: Path, image: Image, wanted: Format, seed: Mapping[str, bytes] | None, runner: Runner) -> None:
    raw = work / "disk.raw"
    if seed is not None:
        work.chmod(0o700)
    run_tool(runner, ("qemu-img", "convert", "-O", "raw", image.qcow2, raw))
    created = int(json.loads(image.manifest.read_text())["created"])
    if seed is not None:
        inject(raw, root_start(raw, runner), seed, epoch=created, runner=runner)
    if wanted != "raw":
        qcow2 = work / "disk.qcow2"
        write_qcow2(raw, qcow2)
        raw.unlink()
        if wanted == "vagrant":
            box.write_box(work / NAMES["vagrant"], qcow2, virtual_size=image.virtual_size, created=created)
            qcow2.unlink()
    if seed is not None and wanted != "vagrant":
        # A seed may hold a password's hash or a host's key. Vagrant's holds what everybody knows.
        (work / NAMES[wanted]).chmod(0o600)
    (work / "SHA256SUMS").write_text(sums(work, (NAMES[wanted],)))


def root_start(raw: Path, runner: Runner) -> int:
    """Where the root begins on a golden image's disk, in bytes: it is the last partition."""
    table = json.loads(run_tool(runner, ("sfdisk", "--json", raw)).stdout)["partitiontable"]
    last = table["partitions"][-1]
    if last.get("name") != "root":
        raise BuildError(f"{raw.name} is not the disk of a golden image")
    return int(last["start"]) * int(table["sectorsize"])


def copy_out(source: Path, target: Path, runner: Runner, *, private: bool = False) -> None:
    """Copy a made form to `target`, whole or not at all; holes stay holes. `private`: for its owner alone."""
    with replace_atomically(target, mode=0o600 if private else 0o644) as temporary:
        if source.suffix == ".raw":
            run_tool(runner, ("cp", "--sparse=always", "--no-preserve=mode", source, temporary))
        else:
            shutil.copyfile(source, temporary)
