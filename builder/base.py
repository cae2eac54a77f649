"""Application base images: small container images of Debian packages, so that no registry is needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from builder.assemble import check_foreign, check_programs
from builder.image import images_dir
from builder.manifest import sums
from builder.oci import write_archive
from builder.packages import base_packages
from builder.rootfs import Packages, make_packages
from builder.sandbox import Sandbox
from builder.spec import BaseSpec
from builder.store import Store, digest, written_by
from freehold.console import Console
from freehold.console import size as human
from freehold.process import Runner

KIND = "bases"

# What a container never uses: package lists, units, the boot's tools' leftovers. The dpkg database stays: it
# is what scanners read.
TAR_SCRIPT = """\
work=$1 tree=$2
cd "$tree"
tar --create --file="$work/layer.tar" --sort=name --numeric-owner --format=pax \\
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \\
    --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./run/*' --exclude='./tmp/*' \\
    --exclude='./var/cache/*' --exclude='./var/lib/apt/*' --exclude='./var/lib/systemd/*' \\
    --exclude='./var/lib/dpkg/*-old' --exclude='./usr/lib/systemd/*' --exclude='./etc/systemd/*' \\
    --exclude='./usr/lib/udev/*' --exclude='./etc/machine-id' --exclude='./etc/hostname' \\
    --exclude='./etc/resolv.conf' --exclude='./etc/cron.*' --exclude='./etc/.pwd.lock' \\
    --exclude='./etc/passwd-' --exclude='./etc/shadow-' --exclude='./etc/group-' --exclude='./etc/gshadow-' .
"""


@dataclass(frozen=True)
class BaseImage:
    """A finished base image. `tar` is what `docker load` reads; `digest` the image's id; `size` in bytes."""

    name: str
    tar: Path
    digest: str
    size: int


def build_base(
    spec: BaseSpec,
    *,
    runner: Runner,
    console: Console,
    cache: Path | None = None,
    mirror: str = "",
    refresh: bool = False,
) -> BaseImage:
    """The base image, from the cache or made now. Raises BuildError.

    The same packages from the same mirror state give the same bytes, and so the same layer digest: a
    host that has it is sent nothing.
    """
    check_programs(("mmdebstrap", "unshare"))
    check_foreign(spec.arch)
    sandbox = Sandbox.here(runner)
    store = Store(images_dir(cache), sandbox.remove)
    packages = make_packages(
        spec.suite,
        spec.arch,
        base_packages(spec),
        sandbox=sandbox,
        store=store,
        console=console,
        variant="essential",
        mirror=mirror,
        refresh=refresh,
    )
    key = digest(
        packages.key, packages.epoch, spec.reference, TAR_SCRIPT, written_by("base", "oci", "sandbox")
    )
    if refresh or store.find(KIND, key) is None:
        with store.make(KIND, key, refresh=refresh) as work:
            if not work.done:
                with console.step(f"packing {spec.reference}"):
                    _pack(work.path, spec, packages, sandbox)
    path = store.find(KIND, key)
    assert path is not None
    tar = path / "image.tar"
    found = json.loads((path / "base.json").read_text())
    image = BaseImage(spec.reference, tar, found["digest"], tar.stat().st_size)
    console.info(f"base image {image.name}: {image.tar} ({human(image.size)})")
    return image


def find_base(reference: str, cache: Path | None = None) -> Path | None:
    """The archive of the base image of that name which was made last, or None where none is in the cache."""
    found: list[tuple[float, Path]] = []
    for path in (images_dir(cache) / KIND).glob("*/base.json"):
        if json.loads(path.read_text()).get("reference") == reference:
            found.append((path.stat().st_mtime, path.with_name("image.tar")))
    return max(found)[1] if found else None


def _pack(work: Path, spec: BaseSpec, packages: Packages, sandbox: Sandbox) -> None:
    layer = work / "layer.tar"
    sandbox.run(TAR_SCRIPT, work, packages.tree, epoch=packages.epoch, what=f"packing {spec.name}")
    made = write_archive(work / "image.tar", spec.reference, layer, spec.arch, packages.epoch)
    layer.unlink()
    (work / "base.json").write_text(json.dumps({"reference": spec.reference, "digest": made.digest}) + "\n")
    (work / "SHA256SUMS").write_text(sums(work, ("image.tar",)))
