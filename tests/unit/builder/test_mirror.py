"""A host on two disks: tables, what its image has besides, and the installer's steps that need no disk."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from builder.disk import SECTOR, identity, layout
from builder.diskrule import parse_rule
from builder.image import Image
from builder.installer import Installation, Live, carried, settings
from builder.mirror import ROOM, ROOT_SIZE, TYPE_RAID, tables
from builder.packages import image_packages, layered
from builder.spec import ARCHES, GiB, ImageSpec, MiB
from builder.system import enable_script, system_files
from freehold.environment import clean_environment
from freehold.errors import UsageError
from freehold.process import LocalRunner

DISK = layout(4 * GiB, ARCHES["amd64"], identity("test"))
PLACE = Path("/live")
IMAGE = Image(PLACE, "key", "trixie", "amd64", PLACE, PLACE, PLACE, "", PLACE, 4 * GiB)
SEED = {"user-data": b"#cloud-config\n", "meta-data": b"instance-id: x\n"}
SCRIPT = resources.files("builder").joinpath("data/install.sh")


def uuids(text: str) -> set[str]:
    return set(re.findall(r"(?:uuid=|label-id: )([0-9A-F-]{36})", text))


def test_the_two_tables_have_the_same_places_and_no_name_in_common() -> None:
    first, second = tables(DISK)
    assert len(uuids(first)) == len(uuids(second)) == 4
    assert not uuids(first) & uuids(second)
    places = [re.findall(r"start=\d+, size=[^,]+, type=[^,]+", text) for text in (first, second)]
    assert places[0] == places[1]
    assert places[0][-1] == f"start={DISK.root.start // SECTOR}, size={ROOT_SIZE}, type={TYPE_RAID}"


@pytest.mark.needs("sfdisk", "zstd")
def test_sfdisk_makes_the_tables_and_the_installer_reads_them_back(tmp_path: Path) -> None:
    """The installer's own function on files in the place of disks; boot code and table, and nothing else."""
    (tmp_path / "code").write_bytes(b"c" * 440 + b"t" * 72)
    subprocess.run(["zstd", "-q", tmp_path / "code", "-o", tmp_path / "table.zst"], check=True)
    size = 6 * GiB + 512 * 7
    for number, text in enumerate(tables(DISK), 1):
        (tmp_path / f"table-{number}").write_text(text)
        (tmp_path / f"disk-{number}").touch()
        os.truncate(tmp_path / f"disk-{number}", size)
    program = f"""
. "{SCRIPT}"
MEDIUM=$1
blockdev() {{ [ "$1" != --getsize64 ] || stat -c %s "$2"; }}
bytes=$(half {DISK.root.start} "$1/disk-1" "$1/disk-2") || exit 3
table "$1/disk-1" "$1/table-1" "$bytes" || exit 4
table "$1/disk-2" "$1/table-2" "$bytes" || exit 5
echo "$bytes"
"""
    env = clean_environment(os.environ)
    done = subprocess.run(["bash", "-c", program, "bash", tmp_path], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    bytes_ = int(done.stdout)
    assert bytes_ % MiB == 0 and size - 2 * MiB <= DISK.root.start + bytes_ <= size - MiB
    for number in (1, 2):
        disk = tmp_path / f"disk-{number}"
        with disk.open("rb") as stream:
            start = stream.read(512)
        assert start[:440] == b"c" * 440 and start[510:] == b"\x55\xaa"
        dump = LocalRunner().run(("sfdisk", "--dump", disk)).stdout
        assert uuids(dump) == uuids((tmp_path / f"table-{number}").read_text())
        assert f"size={bytes_ // SECTOR:>12}, type={TYPE_RAID}" in dump


def test_the_smaller_disk_says_how_much_there_is(tmp_path: Path) -> None:
    program = f"""
. "{SCRIPT}"
blockdev() {{ case $2 in a) echo {10 * GiB} ;; *) echo {9 * GiB + 5} ;; esac; }}
half {66 * MiB} a b
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 9 * GiB - MiB - 66 * MiB


def test_only_the_image_of_a_mirror_has_what_a_mirror_needs() -> None:
    plain, mirrored = ImageSpec(), ImageSpec(raid1=True)
    assert set(image_packages(mirrored, ())) - set(image_packages(plain, ())) == {"mdadm"}
    # A layer of its own: the large one below is shared.
    assert layered(mirrored, (), ()) == (layered(plain, (), ())[0], ("mdadm",))
    before, after = ({file.path for file in system_files(spec, DISK.identity)} for spec in (plain, mirrored))
    assert before - after == {"/etc/repart.d/50-root.conf", "/etc/grub.d/enable_cloud"}
    assert after - before == {
        "/etc/mdadm/mdadm.conf",
        "/etc/apt/apt.conf.d/90freehold-boot-disks",
        "/usr/local/sbin/freehold-boot-disks",
    }
    assert "freehold-boot-disks" in enable_script(mirrored) and "boot-disks" not in enable_script(plain)
    with pytest.raises(UsageError, match="no mirror of two disks for arm64"):
        ImageSpec(arch="arm64", raid1=True)


def test_a_rule_and_an_image_for_different_numbers_of_disks_are_refused() -> None:
    one, two = Live("key", PLACE, DISK, IMAGE), Live("key", PLACE, DISK, IMAGE, disks=2)
    single = Installation("web-1", SEED, parse_rule("only"))
    double = replace(single, rule=parse_rule("serial=A/B", disks=2))
    for live, installation in ((one, double), (two, single)):
        with pytest.raises(UsageError, match="the image is for"):
            carried(live, installation)
    assert {"table-1", "table-2"} <= carried(two, double).keys()
    assert "table-1" not in carried(one, single)
    assert f"DISKS=2\nLEAST={4 * GiB + ROOM}\n" in settings(two, double)
    assert f"DISKS=1\nLEAST={4 * GiB}\n" in settings(one, single)
