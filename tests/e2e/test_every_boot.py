"""Every further way in which the images promise to boot; `make test-every-boot`, as it takes over an hour.

What CI runs of these kinds stands in test_images.py and test_installer.py.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from builder.bare import installed, prepared
from builder.diskrule import parse_rule
from builder.image import build_image
from builder.installer import build_live
from builder.qemu import SERIAL, SPARE_SERIAL, Medium, Mode
from builder.report import TrialHost, check_medium, settle
from builder.spec import GiB, ImageSpec
from builder.trial import SeedBy, Trial, booted, running
from cloudinit.checks import run_checks
from cloudinit.profile import HostProfile
from freehold.console import Console
from freehold.process import LocalRunner

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
