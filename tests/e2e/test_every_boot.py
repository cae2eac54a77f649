"""Every further way in which the images promise to boot; `make test-every-boot`, as it takes half an hour.

What CI runs of these kinds stands in test_images.py and test_installer.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.bare import installed
from builder.image import build_image
from builder.installer import build_live
from builder.qemu import Medium, Mode
from builder.report import TrialHost, check_medium, settle
from builder.spec import ImageSpec
from builder.trial import SeedBy, Trial, booted
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


@pytest.mark.parametrize(("mode", "seed_by"), [("bios", "smbios"), ("direct", "kernel")])
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_seed_over_http_reaches_the_machine(
    suite: str, mode: Mode, seed_by: SeedBy, tmp_path: Path
) -> None:
    image = build_image(ImageSpec(suite), runner=RUNNER, console=QUIET)
    with booted(image, mode, runner=RUNNER, evidence=tmp_path, seed_by=seed_by) as trial:
        prepared_host(trial)
        assert "nocloud" in trial.ssh("cloud-id").stdout
