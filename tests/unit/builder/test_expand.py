"""Debian archives that are decompressed ahead of dpkg: the same contents, in place at the right time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.expand import Expansion

pytestmark = pytest.mark.needs("dpkg-deb", "ar")
PROGRAM = Path(sys.modules["builder.expand"].__file__ or "")


def archive(place: Path, name: str, compression: str = "xz", *, size: int = 3_000_000) -> Path:
    """A real package; its file is `NAME_1%3a2.0_all.deb`."""
    tree = place / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1:2.0\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: x\n"
    )
    (tree / "file").write_bytes(f"{name} ".encode() * (size // (len(name) + 1)))
    made = place / f"{name}_1%3a2.0_all.deb"
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build"]
    subprocess.run([*command, tree, made], check=True, capture_output=True)
    return made


def contents(path: Path) -> list[bytes]:
    """What dpkg gets out of an archive."""
    return [
        subprocess.run(["dpkg-deb", what, path], check=True, capture_output=True).stdout
        for what in ("--fsys-tarfile", "--ctrl-tarfile", "--info")
    ]


def members(path: Path) -> list[str]:
    return subprocess.run(["ar", "t", path], check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


class Build:
    """The folders of a build, and the program at work on them."""

    def __init__(self, place: Path) -> None:
        self.root, self.archives, self.originals = place / "root", place / "archives", place / "originals"
        self.names, self.looked_at = place / "names", place / "looked-at"
        (self.root / "var/lib/dpkg/info").mkdir(parents=True)
        self.archives.mkdir()
        self.originals.mkdir()

    def start(self, names: list[str], looked_at: list[str]) -> subprocess.Popen[bytes]:
        self.names.write_text("".join(f"{name}\n" for name in names))
        self.looked_at.write_text("".join(f"{name}\n" for name in looked_at))
        return subprocess.Popen([sys.executable, "-IS", PROGRAM, *self.arguments])

    @property
    def arguments(self) -> tuple[Path, Path, Path, Path, Path]:
        """What the program is told."""
        return self.root, self.archives, self.originals, self.names, self.looked_at

    def unpack(self, *archives: Path) -> None:
        """What dpkg leaves when it has unpacked these."""
        for archive in archives:
            (self.root / "var/lib/dpkg/info" / f"{archive.name.split('_')[0]}.list").touch()


def until(process: subprocess.Popen[bytes], true: Callable[[], bool]) -> None:
    while not true():
        assert process.poll() is None
        time.sleep(0.01)


def expanded(path: Path) -> bool:
    return members(path) == ["debian-binary", "control.tar", "data.tar"]


@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_an_expanded_archive_has_the_same_contents(build: Build, compression: str) -> None:
    made = archive(build.archives, "one", compression)
    before, original = contents(made), made.read_bytes()
    process = build.start([made.name], [f"/var/cache/apt/archives/{made.name}"])
    kept = build.originals / made.name
    until(process, kept.exists)
    until(process, lambda: expanded(made))
    assert contents(made)[:2] == before[:2]
    assert made.stat().st_size > len(original) or compression == "none"
    assert kept.read_bytes() == original
    build.unpack(made)
    assert process.wait(60) == 0
    assert not made.exists() and kept.read_bytes() == original


def test_an_archive_is_not_touched_before_apt_has_looked_at_it(build: Build) -> None:
    early, late = archive(build.archives, "early"), archive(build.archives, "late")
    before = late.read_bytes()
    process = build.start([early.name, late.name], [early.name])
    until(process, lambda: expanded(early))
    until(process, late.with_name(late.name + ".expanded").exists)
    assert late.read_bytes() == before
    with build.looked_at.open("a") as file:
        file.write(f"/var/cache/apt/archives/{late.name}\n")
    until(process, lambda: expanded(late))
    build.unpack(early, late)
    assert process.wait(60) == 0
    assert sorted(path.name for path in build.originals.iterdir()) == [early.name, late.name]


def test_it_ends_when_packages_are_installed(build: Build) -> None:
    never = archive(build.archives, "never")
    before = never.read_bytes()
    process = build.start([never.name], [])
    until(process, never.with_name(never.name + ".expanded").exists)
    build.looked_at.unlink()
    assert process.wait(60) == 0
    assert never.read_bytes() == before


@pytest.mark.parametrize("damage", ["no archive", "cut", "zstd", "not xz"])
def test_what_it_cannot_read_stays_as_it_is(build: Build, damage: str) -> None:
    good, bad = archive(build.archives, "good"), archive(build.archives, "bad", "xz", size=30_000_000)
    whole = bad.read_bytes()
    bad.write_bytes(
        {
            "no archive": b"<html>not found</html>",
            "cut": whole[:-1000],
            "zstd": whole.replace(b"data.tar.xz ", b"data.tar.zst"),
            "not xz": whole.replace(b"\xfd7zXZ", b"nothin"),
        }[damage]
    )
    before = bad.read_bytes()
    process = build.start([bad.name, good.name], [bad.name, good.name])
    until(process, lambda: expanded(good))
    build.unpack(good)
    assert process.wait(60) == 0
    assert bad.read_bytes() == before
    assert not list(build.archives.glob("*.expanded"))


def test_what_dpkg_is_at_comes_first_and_what_it_has_unpacked_not_at_all(build: Build) -> None:
    names = [f"{name}_1%3a2.0_amd64.deb" for name in ("libc6", "base", "kernel", "docker")]
    build.names.write_text("\n".join(names))
    build.looked_at.write_text(f"/somewhere/{names[2]}\n")
    (build.root / "var/lib/dpkg/info/libc6:amd64.list").touch()
    expansion = Expansion(*build.arguments)
    assert list(expansion.work()) == [names[2], names[3], names[1]]


def test_several_threads_take_each_archive_once(build: Build) -> None:
    made = [archive(build.archives, f"package{number}", size=200_000) for number in range(30)]
    before = [contents(path)[0] for path in made]
    process = build.start([path.name for path in made], [path.name for path in made])
    until(process, lambda: len(list(build.originals.iterdir())) == len(made))
    until(process, lambda: all(map(expanded, made)))
    assert [contents(path)[0] for path in made] == before
    build.unpack(*made)
    assert process.wait(60) == 0
