"""The installer on machines without a system: what it writes starts, and what it must not touch it leaves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builder.bare import installed, prepared
from builder.diskrule import parse_rule
from builder.installer import Live, build_live
from builder.report import TrialHost, settle
from builder.spec import ImageSpec
from builder.trial import GROWN, powered
from builder.watch import REFUSED, verdict
from cloudinit.checks import run_checks
from cloudinit.profile import HostProfile
from freehold.console import Console
from freehold.process import LocalRunner

RUNNER = LocalRunner()


@pytest.fixture(scope="module")
def live() -> Live:
    """The cloud kernel serves QEMU's disks too, and its image is in the cache for the other tests."""
    return build_live(ImageSpec("trixie"), runner=RUNNER, console=Console(quiet=True))


def test_a_cd_makes_an_empty_machine_into_a_host(live: Live, tmp_path: Path) -> None:
    """Secure Boot on; the CD stays in the drive, and the machine must not install itself again."""
    with installed(live, "secure", "cd", runner=RUNNER, evidence=tmp_path) as trial:
        settle(trial)
        results = run_checks(TrialHost(trial), HostProfile())
        assert [result for result in results if not result.ok] == []
        facts = trial.ssh(
            "findmnt -bno SIZE /; hostname; mokutil --sb-state; sudo ls /boot/efi/EFI; "
            "sudo stat -c '%a %U' /var/lib/cloud/seed/nocloud/user-data"
        ).stdout.splitlines()
        assert int(facts[0]) > GROWN * 0.9  # the root took up the larger disk
        assert facts[1:3] == ["trial", "SecureBoot enabled"]
        assert facts[-3:] == ["BOOT", "debian", "600 root"]
        log = trial.machine.serial.read_text(errors="replace")
    assert log.count("INSTALLED:") == 1


def test_a_disk_is_refused_when_the_rule_leaves_a_choice(live: Live, tmp_path: Path) -> None:
    """As a USB-like disk under BIOS; two empty disks, and a rule that fits both."""
    spare = tmp_path / "spare.qcow2"
    RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", spare, "20G"))
    with (
        prepared(live, "bios", "disk", runner=RUNNER, rule=parse_rule("empty"), spare=spare) as (
            machine,
            directory,
        ),
        powered(machine, directory, runner=RUNNER, evidence=tmp_path) as process,
    ):
        before = [hashlib.sha256(disk.read_bytes()).hexdigest() for disk in (machine.disk, spare)]
        assert verdict(machine.serial, process).startswith(f"{REFUSED} 2 disks match the rule: vd")
        process.stop()
        after = [hashlib.sha256(disk.read_bytes()).hexdigest() for disk in (machine.disk, spare)]
        log = machine.serial.read_text(errors="replace")
    assert after == before
    assert "serial=TRIAL1" in log and "serial=TRIAL2" in log
    assert "Nothing was written to any disk." in log
