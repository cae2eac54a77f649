"""The probe is a real guest: it runs where emulation runs, and its answer is kept."""

import json
from pathlib import Path

import pytest

from freehold.process import LocalRunner
from lab import accelerator
from lab.domain import Accelerator


def test_the_probes_guest_runs_and_says_so(tmp_path: Path) -> None:
    sector = tmp_path / "probe.img"
    sector.write_bytes(accelerator.boot_sector())
    assert sector.stat().st_size == 512
    done = LocalRunner().run(
        accelerator.probe_command(accelerator.emulator(), sector, "tcg"), timeout=60, check=False
    )
    assert done.returncode == accelerator.PROBE_EXIT, done.stderr


def test_the_answer_is_kept_until_the_next_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the device nobody is asked, and nothing kept; whether a guest boots is the same to this test.
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accelerator, "DEVICE", device)
    first = accelerator.choose(LocalRunner(), cache=tmp_path)
    assert (first.accelerator == "tcg") == bool(first.reason)
    kept = tmp_path / "lab" / "accelerator.json"
    assert kept.is_file()
    found = json.loads(kept.read_text())
    kept.write_text(json.dumps({**found, "kvm": False, "reason": "as kept"}))
    assert accelerator.choose(LocalRunner(), cache=tmp_path).reason == "as kept"
    kept.write_text(json.dumps({**found, "key": "another boot", "reason": "old"}))
    again = accelerator.choose(LocalRunner(), cache=tmp_path)
    assert again.accelerator == first.accelerator and again.reason != "old"


@pytest.mark.parametrize(
    ("took", "emulated", "usable"),
    [(1.2, 0.9, True), (3.0, 0.8, True), (2.0, 0.1, False), (14.0, 3.0, False)],
)
def test_kvm_that_is_many_times_slower_than_emulation_is_not_used(
    took: float, emulated: float, usable: bool
) -> None:
    reason = accelerator.slower(took, emulated)
    assert (not reason) == usable
    assert usable or f"{took / emulated:.0f} times slower" in reason


def test_what_takes_long_on_kvm_is_compared_with_emulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accelerator, "DEVICE", device)
    # Stands for KVM here: the same guest, a second and a half late.
    program = tmp_path / "qemu"
    program.write_text(
        f"""#!/bin/sh
shift
[ "$1" = tcg ] || sleep 1.5
shift
exec {accelerator.emulator()} -accel tcg "$@"
"""
    )
    program.chmod(0o755)
    real = accelerator.probe_command

    def command(qemu: Path, sector: Path, how: Accelerator = "kvm") -> tuple[str, ...]:
        return tuple("max" if word == "host" else word for word in real(program, sector, how))

    monkeypatch.setattr(accelerator, "probe_command", command)
    monkeypatch.setattr(accelerator, "TIMES", 0.1)
    choice = accelerator.choose(LocalRunner(), cache=tmp_path)
    assert choice.accelerator == "tcg" and "times slower than an emulated one" in choice.reason
    monkeypatch.setattr(accelerator, "SOON", 60.0)
    assert accelerator.choose(LocalRunner(), cache=tmp_path).accelerator == "kvm"
