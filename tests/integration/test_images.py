"""Images on the machine that builds them: whose files are in them, and who may read them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.base import build_base
from builder.formats import copy_out, make_format
from builder.image import build_tree, load_image
from builder.spec import BaseSpec, ImageSpec
from cloudinit.profile import load_profile
from freehold.console import Console
from freehold.errors import BuildError, ConfigError
from freehold.process import LocalRunner
from tests.conftest import program
from tests.rig import Rig

PROFILE = """\
files:
  - {path: /root/.ssh/config, content: "Host *"}
  - {path: /var/log/own.log, content: begun}
"""
SEED = {"user-data": b"#cloud-config\n{}\n", "meta-data": b"instance-id: one\n"}


def test_files_of_the_profile_are_no_leftovers_and_a_seed_is_its_owners(rig: Rig, tmp_path: Path) -> None:
    assert rig is not None, "the rig says first whether this machine can build"
    runner, console = LocalRunner(), Console(quiet=True)
    # The packages are in the cache: what is made of them needs no network.
    build_tree(ImageSpec("bookworm"), runner=runner, console=console)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/host.yml").write_text(PROFILE)
    offline = ("unshare", "--net", program("freehold"), "image")

    def made(*words: str) -> Path:
        done = runner.run((*offline, *words, "--suite", "debian-12"), cwd=tmp_path, timeout=900)
        return Path(done.stdout.strip())

    root, image = made("tree"), load_image(made("build").parent)
    assert (root / "root/.ssh/config").read_text() == "Host *\n"
    assert (root / "var/log/own.log").read_text() == "begun\n"
    assert [path.name for path in (root / "var/log").glob("*.log")] == ["own.log"]
    disk = make_format(image, "raw", runner=runner, console=console, seed=SEED)
    assert [path.stat().st_mode & 0o777 for path in (disk, disk.parent)] == [0o600, 0o700]
    copy_out(disk, tmp_path / "web.raw", runner, private=True)
    assert (tmp_path / "web.raw").stat().st_mode & 0o777 == 0o600


@contextmanager
def small(place: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes."""
    runner = LocalRunner()
    runner.run(("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "small", place))
    try:
        yield place
    finally:
        runner.run(("umount", place))


def left(cache: Path) -> list[str]:
    """Whatever of a layer is in a cache, half-made or whole; locks are no part of any."""
    layers = cache.glob("images*/*/*")
    return [path.name for path in layers if path.suffix != ".lock"]


def refused(cache: Path, mirror: str = "") -> BuildError:
    """What the build of a small container image ends with."""
    with pytest.raises(BuildError) as caught:
        build_base(
            BaseSpec("small", "bookworm"),
            runner=LocalRunner(),
            console=Console(quiet=True),
            cache=cache,
            mirror=mirror,
        )
    return caught.value


def test_a_full_disk_and_a_dead_mirror_are_named_and_leave_nothing(rig: Rig, tmp_path: Path) -> None:
    """At once: apt asks a mirror that refuses it, at a port where nobody listens, for half a minute."""
    assert rig is not None, "the rig says first whether this machine can build"
    lost, full = tmp_path / "lost", tmp_path / "full"
    full.mkdir()
    with small(full, "100m"), ThreadPoolExecutor(1) as pool:
        dead = pool.submit(refused, lost, "http://127.0.0.1:9/debian")
        assert "free some disk space" in refused(full).hint
        assert left(full) == []
        assert "the package mirror does not answer" in dead.result().hint
    assert left(lost) == []


def test_a_package_that_the_suite_lacks_is_known_before_the_others_are_there(
    rig: Rig, tmp_path: Path
) -> None:
    assert rig is not None, "the rig says first whether this machine can build"
    (tmp_path / "host.yml").write_text("packages: [htop, freehold-has-none]\n")
    spec = ImageSpec("bookworm", profile=load_profile(tmp_path / "host.yml", name="host.yml"))
    with pytest.raises(ConfigError, match=r"^host\.yml:1:18 .* has no package 'freehold-has-none'"):
        build_tree(spec, runner=LocalRunner(), console=Console(quiet=True), cache=tmp_path / "cache")
    # Not even the layer below, which the name is not in.
    assert left(tmp_path / "cache") == []
