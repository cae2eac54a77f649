"""The golden images, booted in every way they promise, and what two builds have in common."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.image import Image, build_image
from builder.qemu import Machine, Mode
from builder.report import TrialHost, settle
from builder.spec import ImageSpec
from builder.trial import GROWN, Trial, booted, free_port, own_variables, running
from cloudinit.checks import run_checks
from cloudinit.profile import HostProfile, parse_profile
from freehold.console import Console
from freehold.errors import BuildError
from freehold.process import LocalRunner

RUNNER = LocalRunner()
# What hosts in namespaces cannot have of their own: their kernel, memory and clock are this machine's.
RICH = """\
swap: 96MiB
ntp: [time-1.example.com, 192.0.2.123]
sysctl: {vm.swappiness: 13, kernel.panic: 47, fs.file-max: 123456}
"""


def image(suite: str, cache: Path | None = None, profile: HostProfile | None = None) -> Image:
    return build_image(
        ImageSpec(suite, profile=profile), runner=RUNNER, console=Console(quiet=True), cache=cache
    )


# Debian 13 and Secure Boot are proven in test_installer.py, on the disk that the installer wrote; booting the
# kernel directly by every machine of the lab.
@pytest.mark.parametrize("mode", ["bios", "uefi"])
def test_image_boots_into_a_prepared_host(mode: Mode, tmp_path: Path) -> None:
    profile = parse_profile(RICH) if mode == "uefi" else None
    with booted(image("bookworm", profile=profile), mode, runner=RUNNER, evidence=tmp_path) as trial:
        settle(trial)
        results = run_checks(TrialHost(trial), profile or HostProfile())
        assert [result for result in results if not result.ok] == []
        if profile:
            asks_for_its_own_profile(trial)
        facts = trial.ssh(
            "findmnt -bno SIZE /; cat /etc/machine-id; hostname; test -d /sys/firmware/efi && echo efi "
            "|| echo no-efi; sudo ls /boot/efi/EFI"
        ).stdout.splitlines()
    assert int(facts[0]) > GROWN * 0.9  # the root took up the larger disk
    assert len(facts[1]) == 32
    assert facts[2] == "trial"
    assert facts[3] == ("efi" if mode == "uefi" else "no-efi")
    assert facts[-2:] == ["BOOT", "debian"]


def asks_for_its_own_profile(trial: Trial) -> None:
    """The checks of `RICH` see what a machine lacks."""
    trial.ssh(
        "sudo swapoff /freehold.swap && sudo sysctl -q vm.swappiness=60 && "
        "sudo rm /etc/systemd/timesyncd.conf.d/freehold.conf && sudo systemctl restart systemd-timesyncd"
    )
    wrong = {
        result.id: result.detail
        for result in run_checks(TrialHost(trial), parse_profile(RICH))
        if not result.ok
    }
    assert wrong == {
        "time": "the clock is not kept by time-1.example.com, 192.0.2.123",
        "kernel": "not as the profile says: vm.swappiness",
        "files": "/etc/systemd/timesyncd.conf.d/freehold.conf is missing",
    }
    trial.ssh("sudo sysctl -q vm.swappiness=13")
    assert "kernel: /freehold.swap is not in use" in {
        f"{result.id}: {result.detail}" for result in run_checks(TrialHost(trial), parse_profile(RICH))
    }


@pytest.mark.parametrize("mode", ["uefi", "secure"])
def test_a_machine_that_cannot_start_leaves_a_picture_and_its_console(mode: Mode, tmp_path: Path) -> None:
    """An empty disk; the firmware itself gives up, and so does who waits for it."""
    with TemporaryDirectory(prefix="fh") as name:
        place = Path(name)
        disk = place / "disk.qcow2"
        RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"))
        machine = Machine(
            arch="amd64",
            mode=mode,
            disk=disk,
            seed=None,
            serial=place / "serial.log",
            monitor=place / "qmp",
            port=free_port(),
            variables=own_variables("amd64", mode, place),
        )
        with (
            pytest.raises(BuildError, match="the firmware found nothing to start") as caught,
            running(machine, place, runner=RUNNER, evidence=tmp_path, deadline=600),
        ):
            pass
    assert str(tmp_path / mode) in caught.value.__notes__[0]
    assert "BdsDxe: " in (tmp_path / f"{mode}.log").read_text(errors="replace")
    picture = (tmp_path / f"{mode}.png").read_bytes()
    # PNG (RFC 2083): the signature, and the header with width and height.
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and picture[12:16] == b"IHDR"
    width, height = struct.unpack(">II", picture[16:24])
    assert width >= 640 and height >= 400 and len(picture) > 1000


def test_two_builds_have_the_same_bytes(tmp_path: Path) -> None:
    """The second is made on an empty cache.

    The cached one may be older than the present mirror, and the mirror may change during a build: then one
    more is made, until two have seen the same packages.
    """
    builds = [image("bookworm")]
    while len(builds) < 4:
        builds.append(image("bookworm", tmp_path / f"cache-{len(builds)}"))
        before, after = (json.loads(found.manifest.read_text())["created"] for found in builds[-2:])
        if before == after:
            break
    assert before == after, "the mirror changed during each of three builds"
    first, second = ((found.directory / "SHA256SUMS").read_text() for found in builds[-2:])
    assert second == first
