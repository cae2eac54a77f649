"""Images on the machine that builds them: whose files are in them, and who may read them."""

from __future__ import annotations

from pathlib import Path

from builder.formats import copy_out, make_format
from builder.image import build_image, build_tree
from builder.spec import ImageSpec
from cloudinit.profile import parse_profile
from freehold.console import Console
from freehold.process import LocalRunner
from tests.rig import Rig

PROFILE = """\
files:
  - {path: /root/.ssh/config, content: "Host *"}
  - {path: /var/log/own.log, content: begun}
"""
SEED = {"user-data": b"#cloud-config\n{}\n", "meta-data": b"instance-id: one\n"}


def test_files_of_the_profile_are_no_leftovers_and_a_seed_is_its_owners(rig: Rig, tmp_path: Path) -> None:
    assert rig is not None, "the rig says first whether this machine can build"
    spec = ImageSpec("bookworm", profile=parse_profile(PROFILE))
    runner, console = LocalRunner(), Console(quiet=True)
    root = build_tree(spec, runner=runner, console=console)
    assert (root / "root/.ssh/config").read_text() == "Host *\n"
    assert (root / "var/log/own.log").read_text() == "begun\n"
    assert [path.name for path in (root / "var/log").glob("*.log")] == ["own.log"]
    image = build_image(spec, runner=runner, console=console)
    disk = make_format(image, "raw", runner=runner, console=console, seed=SEED)
    assert [path.stat().st_mode & 0o777 for path in (disk, disk.parent)] == [0o600, 0o700]
    copy_out(disk, tmp_path / "web.raw", runner, private=True)
    assert (tmp_path / "web.raw").stat().st_mode & 0o777 == 0o600
