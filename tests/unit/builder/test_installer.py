"""What the installer's medium is made of: pieces of the disk, initramfs archives, menus, its script."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from importlib import resources
from pathlib import Path

import pytest

from builder import box, medium
from builder.cpio import copy, file, with_folders, write
from builder.disk import identity, layout
from builder.diskrule import parse_rule
from builder.ext4 import used_ranges
from builder.installer import Installation
from builder.packed import GAP, PIECE, image_ranges, pack, pieces, table_ranges, text
from builder.seeded import FOLDER, inject
from builder.spec import ARCHES, GiB, MiB
from freehold.errors import UsageError
from freehold.process import LocalRunner

IDS = identity("test")
DISK = layout(2 * GiB, ARCHES["amd64"], IDS)
SCRIPT = resources.files("builder").joinpath("data/install.sh")

DUMP = """\
Block count:              1000
Block size:               4096
Group 0: (Blocks 0-499)
  Free blocks: 100-199, 300
  Free inodes: 12-100
Group 1: (Blocks 500-999)
  Free blocks: 600-999
  Free inodes:
"""


def test_used_ranges_are_what_is_not_free() -> None:
    block = 4096
    assert used_ranges(DUMP) == [(0, 100 * block), (200 * block, 300 * block), (301 * block, 600 * block)]
    with pytest.raises(ValueError, match="dumpe2fs"):
        used_ranges("nonsense")


def test_pieces_join_small_gaps_and_cut_long_runs() -> None:
    assert pieces([(0, 10), (10 + GAP - 1, 10 + GAP)]) == [(0, 10 + GAP)]
    assert pieces([(0, 10), (10 + GAP, 20 + GAP)]) == [(0, 10), (10 + GAP, 10)]
    assert pieces([(5, 5 + PIECE + 7)]) == [(5, PIECE), (5 + PIECE, 7)]


def test_image_and_table_share_no_byte_and_the_table_is_what_makes_it_boot() -> None:
    table, image = table_ranges(DISK), image_ranges(DISK, DUMP)
    assert table == [(0, MiB), (2 * GiB - MiB, 2 * GiB)]
    assert min(start for start, _ in image) == MiB
    assert max(end for _, end in image) <= DISK.root.end


def test_the_script_writes_and_verifies_what_was_packed(tmp_path: Path) -> None:
    """The installer's own functions on a file in the place of a disk."""
    raw, disk = tmp_path / "raw", tmp_path / "disk"
    raw.write_bytes(bytes(range(256)) * 4096 + b"\0" * 4 * MiB + b"end " * 5000)
    ranges = [(0, MiB), (5 * MiB, raw.stat().st_size)]
    found = pack(raw, ranges, tmp_path / "image.zst", LocalRunner())
    (tmp_path / "map").write_text(text(found))
    assert [piece.digest for piece in found] == [
        hashlib.sha256(raw.read_bytes()[start:end]).hexdigest() for start, end in ranges
    ]
    disk.write_bytes(b"old " * 2 * MiB)
    program = """
. "$1"
cd "$2"
blockdev() { :; }
begin map
zstd -dcq image.zst | put disk map || exit 3
begin map
check disk map || exit 4
"""
    command = ["bash", "-c", program, "bash", str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = disk.read_bytes()
    assert written[:MiB] == raw.read_bytes()[:MiB]
    assert written[MiB : 5 * MiB] == (b"old " * MiB)  # what is not in use is left alone
    assert written[5 * MiB : raw.stat().st_size] == raw.read_bytes()[5 * MiB :]
    with disk.open("r+b") as stream:
        stream.seek(5 * MiB + 17)
        stream.write(b"!")
    damaged = subprocess.run(
        [*command[:2], program.replace("zstd -dcq image.zst | put disk map || exit 3", ""), *command[3:]],
        capture_output=True,
        text=True,
    )
    assert damaged.returncode == 4
    assert f"from byte {5 * MiB} on is not what was written" in damaged.stdout


def read_cpio(data: bytes) -> list[tuple[str, str, bytes]]:
    """(path, mode in octal, content) of each entry, read as the kernel does."""
    found: list[tuple[str, str, bytes]] = []
    place = 0
    while True:
        assert data[place : place + 6] == b"070701"
        mode, size, length = (int(data[place + at : place + at + 8], 16) for at in (14, 54, 94))
        name = data[place + 110 : place + 110 + length - 1].decode()
        place = (place + 110 + length + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found.append((name, f"{mode:o}", data[place : place + size]))
        place = (place + size + 3) & ~3


def test_an_archive_holds_folders_before_their_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5)
    stream = io.BytesIO()
    write(stream, with_folders([file("a/b/c", b"1", 0o600), copy("a/d", source, 0o755)]))
    assert read_cpio(stream.getvalue()) == [
        ("a", "40755", b""),
        ("a/b", "40755", b""),
        ("a/b/c", "100600", b"1"),
        ("a/d", "100755", b"xxxxx"),
    ]


def test_cpio_is_aligned_and_ends_with_its_trailer() -> None:
    stream = io.BytesIO()
    write(stream, [file("name", b"12345")])
    data = stream.getvalue()
    assert len(data) % 4 == 0
    assert data.startswith(b"070701") and b"TRAILER!!!" in data[-40:]
    assert data[110:115] == b"name\0" and data[116:124] == b"12345\0\0\0"


def test_a_medium_left_in_the_machine_starts_the_host() -> None:
    menu = medium.grub_cfg("key", "web-1", IDS)
    assert f"search --no-floppy --fs-uuid --set=host {IDS.filesystem}" in menu
    assert menu.index("set default=host") < menu.index("set default=install")
    assert "boot=freehold freehold=key" in menu


def test_an_installation_needs_a_whole_seed() -> None:
    with pytest.raises(UsageError, match="no meta-data"):
        Installation("web-1", {"user-data": b""}, parse_rule("only"))


@pytest.mark.needs("mke2fs", "debugfs")
def test_a_seed_is_put_into_a_file_system_without_mounting_it(tmp_path: Path) -> None:
    disk, tree = tmp_path / "disk", tmp_path / "tree"
    (tree / "var/lib").mkdir(parents=True)
    runner = LocalRunner()
    offset = MiB
    runner.run(("mke2fs", "-q", "-t", "ext4", "-d", tree, "-E", f"offset={offset}", disk, "8M"))
    files = {"user-data": b"#cloud-config\n", "meta-data": b"instance-id: x\n"}
    inject(disk, offset, files, epoch=1_700_000_000, runner=runner)
    place = f"{disk}?offset={offset}"
    for name, data in files.items():
        assert runner.run(("debugfs", "-R", f"cat {FOLDER}/{name}", place)).stdout.encode() == data
    stat = runner.run(("debugfs", "-R", f"stat {FOLDER}/user-data", place)).stdout
    assert "Mode:  0600" in stat and "User:     0" in stat
    checked = runner.run(("e2fsck", "-fn", place), check=False)
    assert checked.returncode == 0, checked.stdout


def test_a_box_is_what_vagrant_libvirt_reads(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(b"QFI\xfb")
    for name in ("one.box", "two.box"):
        box.write_box(tmp_path / name, disk, virtual_size=4 * GiB + 1, created=7)
    with tarfile.open(tmp_path / "one.box") as archive:
        assert archive.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        stream = archive.extractfile("metadata.json")
        assert stream is not None
        assert json.load(stream) == {"provider": "libvirt", "format": "qcow2", "virtual_size": 5}
    assert (tmp_path / "one.box").read_bytes() == (tmp_path / "two.box").read_bytes()


def test_the_boxs_seed_is_vagrants_user() -> None:
    user_data = box.seed_files()["user-data"].decode()
    assert "name: vagrant" in user_data and "vagrant insecure public key" in user_data
