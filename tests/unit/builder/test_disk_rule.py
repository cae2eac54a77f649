"""Which disk the installer takes: the rule as it is written, and the choice as the machine makes it."""

from __future__ import annotations

import subprocess
from importlib import resources
from pathlib import Path

import pytest

from builder.diskrule import parse_rule
from freehold.errors import UsageError

# path|name|bytes|serial|model|empty|by-id|sector, as the installer's `facts` prints them
SSD = "pci-0000:00:04.0-nvme-1|nvme0n1|512000000000|S4EV|Acme_SSD|0|nvme-Acme_SSD_S4EV,nvme-eui.0025|512"
FIRST = "pci-0000:00:17.0-ata-1|sda|4000000000000|WD-1|Acme_HDD|1|ata-Acme_HDD_WD-1|512"
SECOND = "pci-0000:00:17.0-ata-2|sdb|4000000000000|WD-2|Acme_HDD|1|ata-Acme_HDD_WD-2|512"
TINY = "pci-0000:00:17.0-ata-3|sdc|1000000000|||1||512"
NATIVE = SECOND.replace("|512", "|4096")
FULL = FIRST.replace("|1|", "|0|")

IMAGE = 4 * 1024**3


def choose(tmp_path: Path, rule: str, *disks: str, wipe: bool = False, count: int = 1) -> tuple[int, str]:
    """The installer's own script, asked what it would write to."""
    (tmp_path / "rule").write_text(parse_rule(rule, wipe=wipe, disks=count).lines())
    script = resources.files("builder").joinpath("data/install.sh")
    command = f'. "{script}"; choose "{tmp_path}/rule" {IMAGE} {count}'
    done = subprocess.run(
        ["bash", "-c", command], input="".join(f"{disk}\n" for disk in disks), capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("serial=WD-2", "sdb"),
        ("by-id=ata-Acme_HDD_WD-1", "sda"),
        ("by-id=/dev/disk/by-id/nvme-eui.0025", "nvme0n1"),
        ("first-empty", "sda"),
        ("size>=1T,first-empty", "sda"),
        ("size<=600G,serial=S4EV", "nvme0n1"),
        ("model=Acme_HDD,first-empty", "sda"),
    ],
)
def test_a_rule_finds_its_disk(rule: str, name: str, tmp_path: Path) -> None:
    assert choose(tmp_path, rule, SSD, FIRST, SECOND) == (0, name)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("serial=WD-3", "no disk matches"),
        ("serial=WD", "no disk matches"),
        ("only", "3 disks match the rule: nvme0n1 sda sdb"),
        ("model=Acme_*", "3 disks match"),
        ("empty", "2 disks match the rule: sda sdb"),
        ("size<=600G", "nvme0n1 is not empty"),
        ("size>=8T", "no disk matches"),
    ],
)
def test_it_refuses_to_guess(rule: str, reason: str, tmp_path: Path) -> None:
    status, text = choose(tmp_path, rule, SSD, FIRST, SECOND)
    assert status == 1
    assert reason in text


def test_a_full_disk_is_taken_only_when_told(tmp_path: Path) -> None:
    assert choose(tmp_path, "only", SSD)[0] == 1
    assert choose(tmp_path, "only", SSD, wipe=True) == (0, "nvme0n1")
    assert choose(tmp_path, "serial=S4EV", SSD) == (0, "nvme0n1")
    assert choose(tmp_path, "only", FIRST) == (0, "sda")


def test_a_disk_that_is_too_small_is_named(tmp_path: Path) -> None:
    assert choose(tmp_path, "only", TINY) == (1, "sdc has 1.0 GB, and the image needs 4.2 GB")


def test_a_disk_with_sectors_that_the_image_is_not_for_is_left_alone(tmp_path: Path) -> None:
    refused = (1, "sdb has sectors of 4096 bytes, which the image cannot start from")
    assert choose(tmp_path, "serial=WD-2", FIRST, NATIVE, wipe=True) == refused
    assert choose(tmp_path, "empty", FIRST, NATIVE, count=2) == refused
    assert choose(tmp_path, "serial=WD-1", FIRST, NATIVE) == (0, "sda")


@pytest.mark.parametrize(
    "rule",
    [
        "serial=WD-2/WD-1",
        "by-id=ata-Acme_HDD_WD-1/ata-Acme_HDD_WD-2",
        "by-id=/dev/disk/by-id/ata-Acme_HDD_WD-1//dev/disk/by-id/ata-Acme_HDD_WD-2",
        "empty",
        "size>=1T",
        "first-empty",
    ],
)
def test_a_mirror_has_two_disks(rule: str, tmp_path: Path) -> None:
    assert choose(tmp_path, rule, SSD, FIRST, SECOND, count=2) == (0, "sda sdb")


@pytest.mark.parametrize(
    ("rule", "disks", "reason"),
    [
        ("serial=WD-1/WD-3", (FIRST, SECOND), "only sda matches the rule, and a mirror needs two disks"),
        ("serial=WD-3/WD-4", (FIRST, SECOND), "no disk matches the rule"),
        ("only", (FIRST,), "only sda matches the rule"),
        ("only", (SSD, FIRST, SECOND), "3 disks match the rule: nvme0n1 sda sdb"),
        ("first-empty", (SSD, SECOND), "only sdb matches the rule"),
        (
            "serial=S4EV/WD-1",
            (SSD, FIRST),
            "nvme0n1 has 512.0 GB and sda 4000.0 GB: the disks of a mirror are of",
        ),
        ("serial=WD-1/S4EV", (FIRST, SSD), "sda has 4000.0 GB and nvme0n1 512.0 GB"),
        ("only", (SECOND, FULL), "sda is not empty"),
        ("only", (SECOND, TINY), "sdc has 1.0 GB, and the image needs"),
    ],
)
def test_two_disks_that_do_not_fit_are_left_alone(
    rule: str, disks: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    status, text = choose(tmp_path, rule, *disks, count=2)
    assert status == 1
    assert reason in text


def test_a_disk_with_data_is_half_of_a_mirror_only_when_told(tmp_path: Path) -> None:
    assert choose(tmp_path, "only", SECOND, FULL, count=2)[0] == 1
    assert choose(tmp_path, "only", SECOND, FULL, count=2, wipe=True) == (0, "sdb sda")
    assert choose(tmp_path, "serial=WD-1/WD-2", SECOND, FULL, count=2) == (0, "sdb sda")


def test_no_number_is_part_of_another(tmp_path: Path) -> None:
    """Disks without a serial number, and numbers that begin alike, are none of those that were named."""
    nameless = FIRST.replace("WD-1", "")
    assert choose(tmp_path, "serial=WD-1/WD-2", nameless, SECOND, count=2)[0] == 1
    assert choose(tmp_path, "serial=WD-11/WD-2", FIRST, SECOND, count=2)[0] == 1
    assert choose(tmp_path, "serial=WD-1", FIRST.replace("WD-1", "WD-11"))[0] == 1


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("serial=A/B", 1, "names 2 disks"),
        ("serial=A", 2, "does not name two disks"),
        ("serial=A/A", 2, "does not name two disks"),
        ("serial=A/B/C", 2, "does not name two disks"),
        ("by-id=A/", 2, "no value for by-id"),
        ("serial=A/$(reboot)", 2, "no value for serial"),
        ("model=A/B", 2, "no value for model"),
    ],
)
def test_a_rule_names_as_many_disks_as_there_are(text: str, count: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rule(text, disks=count)
    assert message in str(caught.value)


def test_no_disk_at_all(tmp_path: Path) -> None:
    assert choose(tmp_path, "only") == (1, "no disk matches the rule")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no disk rule"),
        ("/dev/sda", "another disk on every boot"),
        ("seriel=1", "did you mean 'serial'"),
        ("serial=", "no value for serial"),
        ("serial=a;reboot", "no value for serial"),
        ("by-id=$(reboot)", "no value for by-id"),
        ("size>=big", "no size"),
        ("size>10G", "no disk rule"),
        ("only,only", "says only twice"),
    ],
)
def test_a_wrong_rule_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rule(text)
    assert message in f"{caught.value} {caught.value.hint}"


def test_sizes_reach_the_machine_in_bytes() -> None:
    assert parse_rule("size>=2G, serial=X1", wipe=True).lines() == "size>= 2147483648\nserial X1\nwipe\n"


def test_it_waits_until_no_more_disks_appear(tmp_path: Path) -> None:
    """A second disk that comes late must be seen before `only` is answered."""
    script = resources.files("builder").joinpath("data/install.sh")
    program = f"""
. "{script}"
cd "{tmp_path}"
facts() {{ echo >> asked; echo first; (( $(wc -l < asked) > 1 )) && echo second; :; }}
PAUSE=0
settled
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("first\nsecond", "")
    assert (tmp_path / "asked").read_text().count("\n") == 3


def test_a_hidden_path_of_a_disk_is_no_disk(tmp_path: Path) -> None:
    """The kernel lists the paths of an NVMe disk with its disks, with the same size and serial number."""
    for name, hidden in (("nvme0c0n1", 1), ("nvme0n1", 0), ("sda", None), ("sdx", None)):
        entry = tmp_path / "block" / name
        (entry / "queue").mkdir(parents=True)
        (entry / "queue/logical_block_size").write_text("4096\n" if name == "sda" else "512\n")
        (entry / "ro").write_text("0\n")
        (entry / "size").write_text("2048\n")
        if hidden is not None:
            (entry / "hidden").write_text(f"{hidden}\n")
    (tmp_path / "dev").mkdir()
    for name in ("nvme0c0n1", "nvme0n1", "sda"):
        (tmp_path / "dev" / name).touch()
    script = resources.files("builder").joinpath("data/choose.sh")
    program = f"""
. "{script}"
udevadm() {{ echo ID_SERIAL=one; }}
wipefs() {{ :; }}
BLOCK={tmp_path}/block DEVICES={tmp_path}/dev
facts
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert done.stdout == "|nvme0n1|1048576|one||1||512\n|sda|1048576|one||1||4096\n"
