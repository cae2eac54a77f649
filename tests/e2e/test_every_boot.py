"""Every further way in which the images promise to boot; `make test-every-boot`, as it takes over an hour.

What CI runs of these kinds stands in test_images.py and test_installer.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from builder.answers import check_preseed
from builder.bare import installed, prepared
from builder.box import write_box
from builder.cli import image as command
from builder.diskrule import parse_rule
from builder.formats import Format, make_format
from builder.image import build_image
from builder.installer import After, Installation, build_live, write_installer
from builder.netboot import NetHost, write_netboot
from builder.qemu import SERIAL, SPARE_SERIAL, Machine, Medium, Mode
from builder.remaster import remaster
from builder.report import TrialHost, check_medium, settle
from builder.spec import GiB, ImageSpec
from builder.trial import SeedBy, Trial, booted, own_variables, powered, running
from cloudinit.checks import run_checks
from cloudinit.hostkeys import generate_host_key
from cloudinit.keys import parse_public_key
from cloudinit.profile import HostProfile
from cloudinit.seed import Seed, render_seed
from cloudinit.users import User
from freehold.command import Context, run
from freehold.console import Console
from freehold.process import LocalRunner
from tests.e2e.debiancd import write_medium

pytestmark = [
    pytest.mark.every_boot,
    pytest.mark.skipif(not os.environ.get("FREEHOLD_EVERY_BOOT"), reason="`make test-every-boot` runs these"),
]
RUNNER = LocalRunner()
QUIET = Console(quiet=True)


def prepared_host(trial: Trial) -> None:
    settle(trial)
    assert [result for result in run_checks(TrialHost(trial), HostProfile()) if not result.ok] == []
    assert trial.ssh("hostname").stdout.strip() == "trial"


@pytest.mark.parametrize(
    ("suite", "mode", "medium"),
    [
        ("trixie", "bios", "usb"),
        ("trixie", "uefi", "usb"),
        ("trixie", "secure", "usb"),
        ("trixie", "uefi", "cd"),
        ("trixie", "bios", "cd"),
        ("bookworm", "bios", "usb"),
        ("bookworm", "secure", "cd"),
        ("trixie", "bios", "net"),
        ("trixie", "uefi", "net"),
    ],
)
def test_the_installer_makes_a_host(suite: str, mode: Mode, medium: Medium, tmp_path: Path) -> None:
    # No cloud kernel has a driver for USB, and that of Debian 12 none for SATA, where a PC's CD drive is.
    spec = ImageSpec(suite, kernel="generic" if medium == "usb" or suite == "bookworm" else "cloud")
    check_medium(spec, (mode,), medium)
    live = build_live(spec, runner=RUNNER, console=QUIET)
    with installed(live, mode, medium, runner=RUNNER, evidence=tmp_path) as trial:
        prepared_host(trial)
        log = trial.machine.serial.read_text(errors="replace")
    # A medium that stays, and a server that is asked again, send the machine on to its disk.
    assert log.count("INSTALLED:") == 1


def tested(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> list[dict[str, Any]]:
    """What `image test` found of a finished artifact."""
    context = Context(console=Console(json=True), root=root)
    assert run(command, ["test", *words, "--evidence", str(root / "evidence")], context) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("form", ["raw", "vagrant"])
def test_a_finished_disk_is_tested_as_it_is(
    form: Format, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The raw disk has no seed, and the trial brings its own; the box has one with a key that is given."""
    image = build_image(ImageSpec(), runner=RUNNER, console=QUIET)
    key = generate_host_key("operator")
    (tmp_path / "key").write_text(key.private.reveal())
    (tmp_path / "key").chmod(0o600)
    words: tuple[str, ...]
    if form == "raw":
        words = (str(make_format(image, form, runner=RUNNER, console=QUIET)), "--boot", "bios,uefi")
    else:
        seed = Seed("box", users=(User("vagrant", keys=(parse_public_key(key.public),)),))
        files = render_seed(seed).files()
        disk = make_format(image, "qcow2", runner=RUNNER, console=QUIET, seed=files)
        write_box(tmp_path / "a.box", disk, virtual_size=image.virtual_size, created=0)
        words = (str(tmp_path / "a.box"), "--boot", "secure", "--key", str(tmp_path / "key"))
    found = tested(capsys, tmp_path, *words)
    assert [item["mode"] for item in found] == (["bios", "uefi"] if form == "raw" else ["secure"])
    assert all(item["ok"] and len(item["checks"]) > 10 for item in found)


@pytest.mark.parametrize("after", ["reboot", "poweroff"])
def test_a_finished_medium_makes_its_own_host(
    after: After, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the seed and the disk's rule that it has; the host key is the seed's."""
    live = build_live(ImageSpec(), runner=RUNNER, console=QUIET)
    key, host = generate_host_key("operator"), generate_host_key("web-1")
    seed = Seed("web-1", users=(User("ops", keys=(parse_public_key(key.public),)),), host_keys=(host,))
    files = render_seed(seed, allow_secrets=True).files()
    medium = Installation("web-1", files, parse_rule("serial=S4EVNX0N"), after)
    write_installer(live, medium, tmp_path / "web-1.iso", runner=RUNNER)
    (tmp_path / "key").write_text(key.private.reveal())
    (tmp_path / "key").chmod(0o600)
    # Once with a way in, once without: then the host key alone says who it is.
    entry = ("--key", str(tmp_path / "key")) if after == "reboot" else ()
    words = ("--boot", "secure", "--as", "cd") if after == "reboot" else ("--boot", "bios", "--as", "disk")
    (found,) = tested(capsys, tmp_path, str(tmp_path / "web-1.iso"), *words, *entry)
    assert found["ok"] and bool(found["checks"]) == (after == "reboot")


def test_a_finished_netboot_directory_makes_the_host_of_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = build_live(ImageSpec(), runner=RUNNER, console=QUIET)
    key = generate_host_key("operator")
    (tmp_path / "key").write_text(key.private.reveal())
    (tmp_path / "key").chmod(0o600)
    hosts = []
    for number, name in enumerate(("web-1", "web-2"), 1):
        seed = Seed(name, users=(User("ops", keys=(parse_public_key(key.public),)),))
        installation = Installation(name, render_seed(seed).files(), parse_rule("only"))
        hosts.append(NetHost(installation, f"52:54:00:00:00:0{number}"))
    write_netboot(live, hosts, tmp_path / "netboot")
    words = ("--host", "web-2", "--boot", "bios", "--key", str(tmp_path / "key"))
    (found,) = tested(capsys, tmp_path, str(tmp_path / "netboot"), *words)
    assert (found["medium"], found["ok"]) == ("net", True)


@pytest.mark.parametrize(("suite", "mode"), [("trixie", "bios"), ("bookworm", "secure")])
def test_a_mirror_starts_with_either_disk_gone(suite: str, mode: Mode, tmp_path: Path) -> None:
    """Each disk in its turn is pulled out under power; what starts it is as `freehold-boot-disks` left it."""
    live = build_live(ImageSpec(suite, raid1=True), runner=RUNNER, console=QUIET)
    rule = parse_rule(f"serial={SERIAL}/{SPARE_SERIAL}", disks=2)
    size = 6 * GiB
    spare = tmp_path / "spare.qcow2"
    RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", spare, str(size)))
    with prepared(live, mode, "disk", runner=RUNNER, rule=rule, disk_bytes=size, spare=spare) as (
        machine,
        directory,
    ):
        with running(machine, directory, runner=RUNNER, evidence=tmp_path / "both", deadline=2400) as trial:
            assert "INSTALLED: trial on vd" in machine.serial.read_text(errors="replace")
            prepared_host(trial)
            assert "[2/2] [UU]" in trial.ssh("cat /proc/mdstat").stdout
            assert int(trial.ssh("findmnt -bno SIZE /").stdout) > size * 0.85  # the root took up the disks
            # Nothing to do after dpkg ran, until something of it changed.
            assert trial.ssh("sudo freehold-boot-disks 2>&1").stdout == ""
            trial.ssh("sudo freehold-boot-disks --force && echo kept | sudo tee /kept && sync", timeout=600)
            ids = trial.ssh("lsblk -nro PARTUUID /dev/vda /dev/vdb").stdout.split()
            assert len(ids) == len(set(ids)) == 6
        for name, disk in (("second", spare), ("first", machine.disk)):
            alone = replace(machine, disk=disk, spare=None, medium=None)
            evidence = tmp_path / f"{name}-alone"
            with running(alone, directory, runner=RUNNER, evidence=evidence, deadline=1200) as trial:
                settle(trial)
                missing = [
                    result.id for result in run_checks(TrialHost(trial), HostProfile()) if not result.ok
                ]
                assert missing == ["arrays"]
                assert trial.ssh("cat /kept").stdout == "kept\n"
                assert "shimx64.efi" in trial.ssh("sudo ls /boot/efi/EFI/debian").stdout


@pytest.mark.parametrize(("mode", "seed_by"), [("bios", "smbios"), ("direct", "kernel")])
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_seed_over_http_reaches_the_machine(
    suite: str, mode: Mode, seed_by: SeedBy, tmp_path: Path
) -> None:
    image = build_image(ImageSpec(suite), runner=RUNNER, console=QUIET)
    with booted(image, mode, runner=RUNNER, evidence=tmp_path, seed_by=seed_by) as trial:
        prepared_host(trial)
        assert "nocloud" in trial.ssh("cloud-id").stdout


@pytest.mark.parametrize("mode", ["direct", "uefi", "secure"])
def test_a_host_of_another_architecture(mode: Mode, tmp_path: Path) -> None:
    """arm64 on a PC: built and booted with all of its programs emulated."""
    image = build_image(ImageSpec("trixie", arch="arm64"), runner=RUNNER, console=QUIET)
    with booted(image, mode, runner=RUNNER, evidence=tmp_path, deadline=1200) as trial:
        prepared_host(trial)
        assert trial.ssh("uname -m").stdout.strip() == "aarch64"


# What the installer has read by then, what the installed system would inherit, and whether the medium's own
# list of sums is true.
PRESEED = """\
d-i debian-installer/locale string de_DE.UTF-8
d-i keyboard-configuration/xkb-keymap select de
d-i netcfg/get_hostname string web-1
d-i preseed/early_command string { \\
    echo "ANSWERED: $(debconf-get netcfg/get_hostname) $(debconf-get debian-installer/locale)"; \\
    echo "PRIORITY: $(debconf-get debconf/priority)"; \\
    echo "INHERITED:" $(user-params); \\
    cd /cdrom && md5sum -c md5sum.txt && echo "SUMS: right"; \\
    } > /dev/ttyS0 2>&1; poweroff -f
"""


@pytest.fixture(scope="module")
def debian_medium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian's CD made unattended."""
    place = tmp_path_factory.mktemp("medium")
    write_medium(place / "debian.iso", place / "work", RUNNER)
    check_preseed(PRESEED, "preseed.cfg")
    remaster(place / "debian.iso", place / "unattended.iso", "debian", PRESEED, runner=RUNNER)
    yield place / "unattended.iso"
    shutil.rmtree(place)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory for a Unix socket; pytest's own are too deep."""
    with TemporaryDirectory(prefix="fh") as place:
        yield Path(place)


@pytest.mark.parametrize(
    ("mode", "medium"), [("bios", "cd"), ("secure", "cd"), ("bios", "usb"), ("uefi", "usb")]
)
def test_debians_medium_reads_its_answers(
    mode: Mode, medium: Medium, debian_medium: Path, short: Path, tmp_path: Path
) -> None:
    """Through isolinux or shim and GRUB, with the entry that is the menu's default, and no key pressed."""
    disk = short / "disk.qcow2"
    RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", disk, str(GiB)))
    machine = Machine(
        arch="amd64",
        mode=mode,
        disk=disk,
        seed=None,
        serial=short / "serial.log",
        monitor=short / "qmp",
        port=0,
        variables=own_variables("amd64", mode, short),
        memory=1500,
        medium=debian_medium,
        medium_as=medium,
        once=True,
    )
    with powered(machine, short, runner=RUNNER, evidence=tmp_path) as process:
        process.wait(1800)
    said = machine.serial.read_text(errors="replace").splitlines()
    assert "ANSWERED: web-1 de_DE.UTF-8" in said and "PRIORITY: critical" in said
    assert "INHERITED: quiet" in said and "SUMS: right" in said
