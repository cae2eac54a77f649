"""The end of a lab: two at once, one that never boots, and what is left behind (nothing)."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from builder.image import load_image
from freehold.console import Console
from freehold.errors import LabError
from freehold.process import LocalRunner
from lab import sweep
from lab.lab import Lab
from lab.model import LabSpec
from lab.state import list_labs
from lab.wire import Wire


def test_a_machine_that_never_boots_says_why_and_leaves_nothing(
    lab: Lab, lab_spec: LabSpec, tmp_path: Path
) -> None:
    good = load_image(lab.state.image)
    bad = tmp_path / "image"
    bad.mkdir()
    for path in good.directory.iterdir():
        (bad / path.name).symlink_to(path)
    (bad / "manifest.json").unlink()
    text = good.manifest.read_text().replace(
        "root=UUID=", "panic=0 rdinit=/nonexistent init=/none root=UUID=ff"
    )
    (bad / "manifest.json").write_text(text)
    spec = replace(lab_spec, name="broken", machines=lab_spec.machines[:1], image=bad, deadline=300)
    broken = Lab("broken", runner=LocalRunner(), console=Console())
    try:
        with pytest.raises(LabError, match="web-1: the kernel panicked") as caught:
            broken.up(spec)
        assert caught.value.details
        # The other lab does not notice.
        assert broken.state.prefix != lab.state.prefix
        assert [item.state for item in lab.status()] == ["running"] * 3
    finally:
        broken.down()
    assert list_labs() == (lab.name,)


def test_down_leaves_nothing(lab: Lab) -> None:
    state = lab.state
    ports = [(machine.address, machine.ssh_port) for machine in state.machines]
    switch = Wire(state.runtime).pid
    assert switch is not None
    lab.down()
    assert list_labs() == ()
    assert sweep.processes([state.directory, state.runtime]) == ()
    assert not Path(f"/proc/{switch}/cmdline").exists() or not Path(f"/proc/{switch}/cmdline").read_bytes()
    assert not state.directory.exists()
    assert not state.runtime.exists()
    for address in ports:
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(address)
    lab.down()
