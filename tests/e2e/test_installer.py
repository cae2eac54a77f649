"""The installer on machines without a system: what it writes starts, and what it must not touch it leaves."""

from __future__ import annotations

import hashlib
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from builder.bare import installed, prepared
from builder.bootserver import BootServer
from builder.diskrule import parse_rule
from builder.installer import Installation, Live, build_live
from builder.netboot import SCRIPT, NetHost, ipxe
from builder.qemu import SERVER, Machine, qemu
from builder.report import TrialHost, settle
from builder.spec import ImageSpec
from builder.trial import GROWN, powered, reset
from builder.watch import REFUSED, Serial, verdict
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
        assert verdict(Serial(machine.serial, partial(reset, machine)), process).startswith(
            f"{REFUSED} 2 disks match the rule: vd"
        )
        process.stop()
        after = [hashlib.sha256(disk.read_bytes()).hexdigest() for disk in (machine.disk, spare)]
        log = machine.serial.read_text(errors="replace")
    assert after == before
    assert "serial=TRIAL1" in log and "serial=TRIAL2" in log
    assert "Nothing was written to any disk." in log


def test_a_machine_is_known_by_its_second_card(live: Live, tmp_path: Path) -> None:
    """It starts from the card whose address was given, and that is not the first that iPXE counts."""
    seed = {"user-data": b"", "meta-data": b""}
    # QEMU gives its first card ...:56, and the next ...:57.
    hosts = [
        NetHost(Installation(name, seed, parse_rule("only")), f"52:54:00:12:34:{last}")
        for name, last in (("web-1", "58"), ("web-2", "57"))
    ]
    (tmp_path / SCRIPT).write_text(ipxe(live, hosts))
    disk = tmp_path / "disk.qcow2"
    RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"))
    asked: list[str] = []
    with BootServer("127.0.0.1", 0, {SCRIPT: tmp_path / SCRIPT}, asked.append) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        machine = Machine(
            arch="amd64",
            mode="bios",
            disk=disk,
            seed=None,
            serial=tmp_path / "serial.log",
            monitor=tmp_path / "qmp",
            port=0,
            boot_file=f"http://{SERVER}/{SCRIPT}",
            served=server.server_port,
        )
        words = list(qemu(machine))
        place = words.index("-netdev")
        words[place:place] = [
            "-netdev",
            "user,id=other,restrict=on",
            "-device",
            "virtio-net-pci,netdev=other",
        ]
        deadline = time.monotonic() + 900
        with RUNNER.start(words, stdout=tmp_path / "qemu.log") as process:
            while not any("hosts/" in line for line in asked) and time.monotonic() < deadline:
                assert process.poll() is None, (tmp_path / "qemu.log").read_text()
                time.sleep(0.2)
        server.shutdown()
    sent = [line for line in asked if "hosts/" in line]
    assert sent and all("hosts/web-2.ipxe" in line for line in sent)
