"""An initramfs made while packages were installed: taken as it is only if they brought nothing to it."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

SCRIPT = (files("builder") / "data" / "packages.sh").read_text()


def part(word: str, before: str) -> str:
    """What stands between a line of the script that ends in `before` and the word alone."""
    found = re.search(rf"{re.escape(before)} <<'{word}'\n(.*?)\n{word}$", SCRIPT, re.S | re.M)
    assert found, before
    return found[1]


def made_of(tree: Path) -> str:
    command = ["sh", "-euc", part("END", '"$work/made-of"'), "sh", str(tree)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("usr/share/initramfs-tools/hooks/mdadm", True),
        ("usr/share/initramfs-tools/scripts/local-top/lvm2", True),
        ("etc/initramfs-tools/conf.d/resume", True),
        ("usr/lib/modprobe.d/blacklist.conf", True),
        ("etc/udev/rules.d/70-own.rules", True),
        ("usr/lib/python3/module.py", False),
        ("usr/lib/udev/rules.d/80-docker.rules", False),
    ],
)
def test_what_comes_later_counts_where_it_is_made_of_it(tmp_path: Path, path: str, matters: bool) -> None:
    (tmp_path / "usr/share/initramfs-tools/hooks").mkdir(parents=True)
    (tmp_path / "usr/share/initramfs-tools/hooks/udev").write_text("#!/bin/sh\n")
    before = made_of(tmp_path)
    assert "udev" in before
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("x")
    assert (made_of(tmp_path) != before) == matters


def test_one_that_is_there_is_taken_once_and_the_other_is_made(tmp_path: Path) -> None:
    real = tmp_path / "mkinitramfs"
    real.write_text('#!/bin/sh\necho "made by $*" > "$2"\n')
    real.chmod(0o755)
    text = part("WRAPPER", '"$1/run/made/mkinitramfs"')
    for place, own in (("/run/", f"{tmp_path}/"), ("/usr/sbin/mkinitramfs", str(real))):
        assert place in text
        text = text.replace(place, own)
    (tmp_path / "initrd-6.1").write_text("made ahead")
    target = tmp_path / "initrd.img-6.1.new"
    for content in ("made ahead", f"made by -o {target} 6.1\n"):
        subprocess.run(["sh", "-c", text, "mkinitramfs", "-o", target, "6.1"], check=True)
        assert target.read_text() == content
