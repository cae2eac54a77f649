"""What is made while packages are installed: modules, and an initramfs that nothing else has come to."""

from __future__ import annotations

import re
import subprocess
import time
from importlib.resources import files
from pathlib import Path

import pytest

SCRIPT = (files("builder") / "data" / "packages.sh").read_text()


def part(word: str, before: str) -> str:
    """What stands between a line of the script that ends in `before` and the word alone."""
    found = re.search(rf"{re.escape(before)} <<'{word}'\n(.*?)\n{word}$", SCRIPT, re.S | re.M)
    assert found, before
    return found[1]


def moved(text: str, run: Path, program: str, real: Path) -> str:
    """A script of the tree, with another folder for /run and another program in the place of `program`."""
    for place, own in (("/run/", f"{run}/"), (program, str(real))):
        assert place in text
        text = text.replace(place, own)
    return text


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
    text = moved(part("WRAPPER", '"$1/run/made/mkinitramfs"'), tmp_path, "/usr/sbin/mkinitramfs", real)
    (tmp_path / "initrd-6.1").write_text("made ahead")
    target = tmp_path / "initrd.img-6.1.new"
    for content in ("made ahead", f"made by -o {target} 6.1\n"):
        subprocess.run(["sh", "-c", text, "mkinitramfs", "-o", target, "6.1"], check=True)
        assert target.read_text() == content


def test_modules_that_were_compiled_ahead_are_not_compiled_again(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n[ "$2" != broken ]\n')
    real.chmod(0o755)
    text = moved(part("END", '"$work/compile"'), tmp_path, "/usr/bin/py3compile.real", real)
    (tmp_path / "py3compile.ahead").write_text("python3-yaml:amd64\npython3-jwt\n")
    calls = (
        "-p python3-yaml:amd64",
        "-p python3-yaml",
        "-p python3-jwt /usr/lib/python3-jwt",
        "-p cloud-init",
        "-p broken",
    )
    for call in calls:
        subprocess.run(["sh", "-c", text, "py3compile", *call.split()], check=True)
    # It is done in the background, one at a time; whoever has this lock to itself knows that all are through.
    subprocess.run(["flock", tmp_path / "py3compile.all", "true"], check=True, timeout=60)
    assert sorted((tmp_path / "calls").read_text().splitlines()) == sorted(calls[1:])
    assert (tmp_path / "py3compile.failed").read_text() == "-p broken\n"


@pytest.mark.parametrize("end", ["all are unpacked", "the installation ends"])
def test_modules_are_compiled_when_the_last_package_is_unpacked(tmp_path: Path, end: str) -> None:
    root, tools = tmp_path / "root", tmp_path / "tools"
    info, looked_at, compiled = root / "var/lib/dpkg/info", root / "run/looked-at", tmp_path / "compiled"
    for folder in (info, looked_at.parent, tools):
        folder.mkdir(parents=True)
    for name, text in {"chroot": f'[ "$1" = {root} ] && cat > {compiled}', "sync": "exit 0"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    (tmp_path / "alone").write_text(part("END", '"$work/alone"'))
    (tmp_path / "ahead").write_text("compile\n")
    looked_at.write_text("libc6_2.36_amd64.deb\n")
    (info / "libc6:amd64.list").touch()
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "WORK": str(tmp_path)}
    script = part("END", '"$work/modules"') + "\nwait"
    process = subprocess.Popen(["sh", "-euc", script, "sh", root], env=environment)
    # What is unpacked already is not what is waited for: apt is still to come.
    while not (tmp_path / "mark").exists():
        assert process.poll() is None
        time.sleep(0.01)
    # Later by the clock of the file system.
    time.sleep(0.1)
    with looked_at.open("a") as file:
        file.write("/var/cache/apt/archives/python3-jwt_2%3a1_all.deb\n/x/python3-yaml_6_amd64.deb\n")
    (info / "python3-yaml:amd64.list").touch()
    time.sleep(0.5)
    assert process.poll() is None and not compiled.exists()
    if end == "all are unpacked":
        (info / "python3-jwt.list").touch()
    else:
        looked_at.unlink()
    assert process.wait(60) == 0
    assert compiled.exists() == (end == "all are unpacked")
