"""The end of a lab: two at once, one that never boots, and what is left behind (nothing)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.image import load_image
from builder.spec import GiB
from freehold.console import Console
from freehold.errors import FreeholdError, LabError
from freehold.process import LocalRunner
from lab import sweep
from lab.address import FIRST, loopback_prefix
from lab.lab import Lab
from lab.model import LabSpec
from lab.state import lab_dir, list_labs, runtime_of, taken_prefixes
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


@contextmanager
def no_room(spec: LabSpec) -> Iterator[LabSpec]:
    """More memory than any computer of a developer has."""
    yield replace(spec, machines=(replace(spec.machines[0], memory=4096 * GiB),))


@contextmanager
def taken_address(spec: LabSpec) -> Iterator[LabSpec]:
    """Another program listens where the machine is to answer."""
    prefix = loopback_prefix(spec.name, taken_prefixes(spec.name))
    with socket.create_server((f"{prefix}.{FIRST}", spec.ports.http)):
        yield spec


@contextmanager
def full_disk(spec: LabSpec) -> Iterator[LabSpec]:
    """The disk under the lab's files has less room than a first boot writes."""
    place = lab_dir(spec.name)
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True)
    try:
        yield spec
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def lost_image(spec: LabSpec) -> Iterator[LabSpec]:
    """The image that it should run is none."""
    with TemporaryDirectory() as empty:
        yield replace(spec, image=Path(empty))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (no_room, "web-1 needs .* MiB of memory"),
        (taken_address, "8080 is in use by another program"),
        (full_disk, "web-1 needs .* MiB of disk"),
        (lost_image, "image"),
    ],
)
def test_what_cannot_come_up_says_why_at_once_and_leaves_nothing(
    lab: Lab,
    lab_spec: LabSpec,
    trouble: Callable[[LabSpec], AbstractContextManager[LabSpec]],
    said: str,
) -> None:
    if trouble is full_disk and os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    refused = Lab("refused", runner=LocalRunner(), console=Console())
    plain = replace(lab_spec, name="refused", machines=lab_spec.machines[:1], image=lab.state.image)
    with trouble(plain) as spec:
        with pytest.raises(FreeholdError, match=said) as caught:
            refused.up(spec)
        assert caught.value.exit_code in (1, 2)
        runtime = runtime_of("refused")
        # A directory that is a mount stays; all else is gone by itself.
        assert sweep.processes([lab_dir("refused"), runtime]) == ()
        assert trouble is full_disk or list_labs() == (lab.name,)
    refused.down()
    assert list_labs() == (lab.name,)
    assert not runtime.exists()
    assert [item.state for item in lab.status()] == ["running"] * 3


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
