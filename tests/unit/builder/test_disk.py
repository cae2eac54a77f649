"""The disk's layout, against the real sfdisk, mke2fs, mkfs.vfat and their checkers."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from builder import boot
from builder.assemble import root_dump
from builder.disk import SECTOR, identity, layout, mke2fs, mkfs_vfat, sfdisk_script
from builder.inodes import set_times
from builder.spec import ARCHES, Arch, GiB, MiB
from freehold.errors import BuildError
from freehold.process import LocalRunner

RUNNER = LocalRunner()
AMD64, ARM64 = ARCHES["amd64"], ARCHES["arm64"]
needs_tools = pytest.mark.needs("sfdisk", "mke2fs", "mkfs.vfat", "e2fsck", "fsck.vfat")


def test_identity_depends_on_the_seed_alone() -> None:
    assert identity("a") == identity("a")
    assert identity("a") != identity("b")
    ids = identity("a")
    assert len({ids.disk, ids.bios, ids.esp, ids.root, ids.filesystem, ids.hash_seed}) == 6


@pytest.mark.parametrize("arch", ARCHES.values(), ids=lambda arch: arch.name)
@pytest.mark.parametrize("size", [2 * GiB, 10 * GiB, 3 * GiB + MiB])
def test_partitions_follow_each_other_and_the_root_is_last(arch: Arch, size: int) -> None:
    disk = layout(size, arch, identity("x"))
    end = MiB
    for partition in disk.partitions:
        assert partition.start == end
        assert partition.start % MiB == partition.size % MiB == 0
        end = partition.end
    assert disk.partitions[-1] is disk.root
    assert end == size - MiB


@pytest.mark.parametrize("size", [0, 64 * MiB, 2 * GiB + 512])
def test_disk_without_room_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="no room"):
        layout(size, ARCHES["amd64"], identity("x"))


@needs_tools
def test_sfdisk_reads_back_what_was_laid_out(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as stream:
        stream.truncate(2 * GiB)
    disk = layout(2 * GiB, ARCHES["amd64"], identity("x"))
    RUNNER.run(("sfdisk", "--quiet", "--no-reread", raw), stdin=sfdisk_script(disk))
    RUNNER.run(("sfdisk", "--verify", raw))
    found = json.loads(RUNNER.run(("sfdisk", "--json", raw)).stdout)["partitiontable"]
    assert found["id"].lower() == str(disk.identity.disk)
    assert [(entry["start"] * SECTOR, entry["size"] * SECTOR) for entry in found["partitions"]] == [
        (partition.start, partition.size) for partition in disk.partitions
    ]
    assert [entry["uuid"].lower() for entry in found["partitions"]] == [
        str(partition.identity) for partition in disk.partitions
    ]
    assert [entry["name"] for entry in found["partitions"]] == ["bios", "esp", "root"]


@needs_tools
def test_file_systems_stand_at_their_offsets_and_pass_their_checkers(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "motd").write_text("hello\n")
    (tree / "etc" / "link").symlink_to("motd")
    disk = layout(2 * GiB, ARCHES["amd64"], identity("x"))
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as stream:
        stream.truncate(disk.size)
    RUNNER.run(mkfs_vfat(disk, str(raw)))
    RUNNER.run(mke2fs(disk, str(raw), str(tree)), env={"MKE2FS_CONFIG": "/dev/null"})

    root = f"{raw}?offset={disk.root.start}"
    RUNNER.run(("e2fsck", "-fn", root))
    assert RUNNER.run(("debugfs", "-R", "cat /etc/motd", root)).stdout == "hello\n"
    features = root_dump(raw, disk, RUNNER)
    assert list(tmp_path.glob("metadata-*")) == []
    assert str(disk.identity.filesystem) in features
    # GRUB 2.06 reads neither of these, and newer mke2fs turns them on by itself.
    assert "metadata_csum_seed" not in features
    assert "orphan_file" not in features
    esp = tmp_path / "esp.raw"
    with raw.open("rb") as stream:
        stream.seek(disk.esp.start)
        esp.write_bytes(stream.read(disk.esp.size))
    RUNNER.run(("fsck.vfat", "-n", esp))
    found = RUNNER.run(("blkid", "-p", "-o", "export", esp)).stdout
    assert f"UUID={disk.identity.volume_id}" in found
    assert "VERSION=FAT32" in found


@needs_tools
def test_every_file_gets_the_same_dates_and_checksums_stay_right(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(300):
        (tree / f"file-{number}").write_text(str(number))
        os.utime(tree / f"file-{number}", ns=(number * 10**9 + 5, number * 7 * 10**9 + 123))
    disk = layout(192 * MiB, ARCHES["amd64"], identity("x"))
    raws = [tmp_path / "one.raw", tmp_path / "two.raw"]
    for raw in raws:
        with raw.open("wb") as stream:
            stream.truncate(disk.size)
        environment = {"MKE2FS_CONFIG": "/dev/null", "E2FSPROGS_FAKE_TIME": "1700000000"}
        RUNNER.run(mke2fs(disk, str(raw), str(tree)), env=environment)
        # The root, lost+found and the files; then nothing is left to do.
        assert set_times(raw, disk.root.start, 1_700_000_000) == 302
        before = raw.read_bytes()
        set_times(raw, disk.root.start, 1_700_000_000)
        assert raw.read_bytes() == before
        # Another change time of each file, as in another build: a renamed file is changed.
        for path in tree.iterdir():
            path.rename(path.with_suffix(".moved")).rename(path)
    assert raws[0].read_bytes() == raws[1].read_bytes()
    root = f"{raws[0]}?offset={disk.root.start}"
    # It compares the checksum of each inode.
    RUNNER.run(("e2fsck", "-fn", root))
    stat = RUNNER.run(("debugfs", "-R", "stat /file-7", root)).stdout
    for name in ("atime", "ctime", "crtime"):
        assert f"{name}: 0x6553f100:00000000 " in stat
    assert " mtime: 0x00000031:" in stat


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_what_is_no_file_system_of_ours_is_left_alone(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(content)
    with pytest.raises(BuildError, match="no ext4 file system"):
        set_times(tmp_path / "disk", 0, 1)
    assert (tmp_path / "disk").read_bytes() == content


def test_volume_id_has_the_form_of_by_uuid() -> None:
    left, _, right = identity("x").volume_id.partition("-")
    assert (len(left), len(right)) == (4, 4)
    assert int(left + right, 16) == identity("x").volume


def boot_img() -> bytes:
    return bytes(range(256)) + bytes(254) + b"\x55\xaa"


def test_bios_boot_code_points_at_the_core() -> None:
    code = boot.bios_boot_code(boot_img(), 2048)
    assert len(code) == 440  # what follows is the disk's signature and table
    assert struct.unpack_from("<Q", code, boot.BOOT_KERNEL_SECTOR) == (2048,)
    assert code[boot.BOOT_DRIVE] == 0xFF
    assert code[: boot.BOOT_KERNEL_SECTOR] == boot_img()[: boot.BOOT_KERNEL_SECTOR]


def test_bios_core_knows_where_the_rest_of_it_is() -> None:
    core = boot.bios_core(b"x" * 1300, 2048)
    assert len(core) == 3 * SECTOR
    assert struct.unpack_from("<QHH", core, boot.CORE_BLOCKLIST) == (2049, 2, 0x820)
    assert core[SECTOR : SECTOR + 10] == b"x" * 10


@pytest.mark.parametrize("data", [b"", b"x" * 511, b"x" * 512])
def test_what_is_no_boot_sector_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="boot sector"):
        boot.bios_boot_code(data, 2048)


@pytest.mark.parametrize("size", [100, 2 * MiB])
def test_core_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        boot.bios_core(b"x" * size, 2048)


def test_everything_that_boots_names_the_same_root() -> None:
    ids = identity("x")
    root = str(ids.filesystem)
    assert f"root=UUID={root}" in boot.cmdline(ids, AMD64)
    assert boot.cmdline(ids, AMD64) in boot.grub_cfg(ids, "6.1.0-1-cloud-amd64", AMD64)
    assert "/boot/vmlinuz-6.1.0-1-cloud-amd64" in boot.grub_cfg(ids, "6.1.0-1-cloud-amd64", AMD64)
    assert root in boot.esp_grub_cfg(ids)
    assert root in boot.grub_early_cfg(ids)
    assert boot.fstab(ids).startswith(f"UUID={root} / ext4 ")
    assert f"UUID={ids.volume_id} /boot/efi vfat" in boot.fstab(ids)


def test_an_arm_machine_has_its_own_console_and_no_serial_port_of_grub() -> None:
    ids = identity("x")
    assert boot.cmdline(ids, ARM64).endswith("console=tty0 console=ttyAMA0,115200n8")
    for text in (boot.grub_cfg(ids, "6.1.0-1-cloud-arm64", ARM64), boot.grub_defaults(ARM64)):
        assert "serial" not in text
        assert "ttyAMA0" in text and "ttyS0" not in text
    assert "terminal_output console serial" in boot.grub_cfg(ids, "6.1.0-1-cloud-amd64", AMD64)
    assert 'GRUB_TERMINAL="console serial"' in boot.grub_defaults(AMD64)
