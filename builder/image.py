"""Golden images and root trees: the layers put together, each from the cache where it is there."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import boot
from builder.assemble import check_foreign, check_programs, check_space, make_raw
from builder.configured import Configured, make_configured
from builder.disk import layout
from builder.foreignproxy import proxy_program
from builder.installed import installed
from builder.manifest import Manifest, manifest, sums
from builder.packages import layered, unknown
from builder.payload import Payload, payload
from builder.qcow2 import write_qcow2
from builder.rootfs import make_packages
from builder.sandbox import Sandbox
from builder.sbom import sbom
from builder.scratch import scratch
from builder.spec import ARCHES, SUITES, GiB, ImageSpec
from builder.store import Store, digest, written_by
from freehold.console import Console
from freehold.console import size as human
from freehold.errors import BuildError
from freehold.paths import cache_dir
from freehold.process import Runner

KIND = "images"
TREES = "trees"
WRITERS = written_by(
    "assemble", "boot", "disk", "image", "inodes", "installed", "manifest", "qcow2", "sandbox", "sbom", "zstd"
)
# Root tree, archives, raw disk and compressed image at once.
NEEDED = 3 * GiB


@dataclass(frozen=True)
class Image:
    """A finished golden image. `cmdline` is complete for direct boot; `virtual_size` in bytes."""

    directory: Path
    key: str
    suite: str
    arch: str
    qcow2: Path
    kernel: Path
    initrd: Path
    cmdline: str
    manifest: Path
    virtual_size: int

    @property
    def size(self) -> int:
        """Bytes that the compressed image takes."""
        return self.qcow2.stat().st_size


def images_dir(cache: Path | None = None) -> Path:
    """Where layers and images are kept. Trees of an unprivileged user belong to that user's mapped ids."""
    user = os.geteuid()
    return (cache or cache_dir()) / ("images" if user == 0 else f"images-{user}")


def store_of(sandbox: Sandbox, cache: Path | None) -> Store:
    """The layers of this user."""
    return Store(images_dir(cache), sandbox.remove)


def contributed(spec: ImageSpec, store: Store, runner: Runner) -> Payload:
    """What the spec's profile adds, with the proxy's program for the image's machine type."""
    program = proxy_program(spec.arch, platform.machine(), store.root / "proxy", runner)
    return payload(spec.profile, spec.suite, program)


def configure(
    spec: ImageSpec,
    sandbox: Sandbox,
    store: Store,
    console: Console,
    mirror: str = "",
    refresh: bool = False,
) -> Configured:
    """The layers below the disk, from the cache or made now.

    BuildError where that fails, ConfigError for a package of the profile that the suite does not have.
    """
    contribution = contributed(spec, store, sandbox.runner)
    check_programs()
    check_foreign(spec.arch)
    shared, more = layered(spec, contribution.packages, payload(None, spec.suite).packages)
    if refresh or not store.all("packages"):
        check_space(store.root, NEEDED)
    try:
        packages = make_packages(
            spec.suite,
            spec.arch,
            shared,
            more=more,
            sandbox=sandbox,
            store=store,
            console=console,
            mirror=mirror,
            refresh=refresh,
        )
    except BuildError as exc:
        raise unknown(exc, spec) from exc
    return make_configured(
        spec, contribution, packages, sandbox=sandbox, store=store, console=console, refresh=refresh
    )


def build_image(
    spec: ImageSpec,
    *,
    runner: Runner,
    console: Console,
    cache: Path | None = None,
    mirror: str = "",
    refresh: bool = False,
) -> Image:
    """The golden image for `spec`, from the cache or made now; `refresh` makes every layer anew.

    `cache` replaces `freehold.paths.cache_dir()`. Nothing half-made is ever visible. Raises BuildError.
    """
    sandbox = Sandbox.here(runner)
    store = store_of(sandbox, cache)
    configured = configure(spec, sandbox, store, console, mirror, refresh)
    key = digest(configured.key, spec.size, WRITERS)
    if refresh or store.find(KIND, key) is None:
        with store.make(KIND, key, refresh=refresh) as work:
            if not work.done:
                with console.step(f"writing the disk image ({spec.suite}, {spec.arch})"):
                    binaries = contributed(spec, store, runner).binary_digests()
                    _write(work.path, key, spec, configured, binaries, sandbox, runner)
    path = store.find(KIND, key)
    assert path is not None
    image = load_image(path)
    console.info(f"image {image.qcow2} ({human(image.size)})")
    return image


def _write(
    work: Path,
    key: str,
    spec: ImageSpec,
    configured: Configured,
    binaries: Mapping[str, str],
    sandbox: Sandbox,
    runner: Runner,
) -> None:
    arch = ARCHES[spec.arch]
    disk = layout(spec.size, arch, configured.identity)
    with scratch(work) as place:
        raw = place / "disk.raw"
        make_raw(raw, disk, configured, arch, sandbox=sandbox, runner=runner)
        write_qcow2(raw, work / "disk.qcow2")
    shutil.copyfile(configured.kernel, work / "vmlinuz")
    shutil.copyfile(configured.initrd, work / "initrd.img")
    described = Manifest(
        key=key,
        suite=spec.suite,
        arch=spec.arch,
        kernel=configured.version,
        cmdline=boot.cmdline(configured.identity, arch),
        virtual_size=spec.size,
        created=configured.packages.epoch,
        root_uuid=str(configured.identity.filesystem),
        packages=installed(configured.packages.status.read_text(errors="replace")),
    )
    (work / "manifest.json").write_text(manifest(described))
    (work / "sbom.spdx.json").write_text(
        sbom(
            f"freehold-{spec.suite}-{spec.arch}",
            key,
            described.created,
            described.packages,
            binaries,
            system=SUITES[spec.suite].system,
            codename=spec.suite,
        )
    )
    names = ("disk.qcow2", "vmlinuz", "initrd.img", "manifest.json", "sbom.spdx.json")
    (work / "SHA256SUMS").write_text(sums(work, names))
    for name in (*names, "SHA256SUMS"):
        (work / name).chmod(0o444)


def load_image(path: Path) -> Image:
    """A finished image from its directory; BuildError where it is none."""
    try:
        found = json.loads((path / "manifest.json").read_text())
        return Image(
            directory=path,
            key=found["key"],
            suite=found["suite"],
            arch=found["arch"],
            qcow2=path / "disk.qcow2",
            kernel=path / "vmlinuz",
            initrd=path / "initrd.img",
            cmdline=found["cmdline"],
            manifest=path / "manifest.json",
            virtual_size=int(found["virtual_size"]),
        )
    except (OSError, ValueError, KeyError) as exc:
        raise BuildError(
            f"{path} is not a golden image: {exc}", hint="`freehold image build` makes one"
        ) from exc


def list_images(cache: Path | None = None) -> tuple[Image, ...]:
    """The finished images in the cache, the newest first."""
    return tuple(load_image(path) for path in Store(images_dir(cache), shutil.rmtree).all(KIND))


def build_tree(
    spec: ImageSpec,
    *,
    runner: Runner,
    console: Console,
    cache: Path | None = None,
    mirror: str = "",
    refresh: bool = False,
) -> Path:
    """The golden image's root as a directory, from the same layers. Not to be written into."""
    sandbox = Sandbox.here(runner)
    store = store_of(sandbox, cache)
    configured = configure(spec, sandbox, store, console, mirror, refresh)
    key = digest(configured.key, written_by("image", "sandbox"))
    if refresh or store.find(TREES, key) is None:
        with store.make(TREES, key, refresh=refresh) as work:
            if not work.done:
                with console.step(f"laying out the root tree ({spec.suite}, {spec.arch})"):
                    sandbox.run(
                        TREE_SCRIPT,
                        configured.packages.tree,
                        configured.upper,
                        work.path,
                        epoch=configured.packages.epoch,
                        what="laying out the root tree",
                    )
    path = store.find(TREES, key)
    assert path is not None
    return path / "root"


TREE_SCRIPT = """\
both "$1" "$2" "$3/both"
cp --archive --reflink=auto "$3/both" "$3/root"
umount "$3/both"
rmdir "$3/both"
"""
