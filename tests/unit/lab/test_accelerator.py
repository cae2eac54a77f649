"""The probe is a real guest: it runs where emulation runs, and its answer is kept."""

import json
from pathlib import Path

import pytest

from freehold.process import LocalRunner
from lab import accelerator


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
    assert accelerator.choose(LocalRunner(), cache=tmp_path) == first
