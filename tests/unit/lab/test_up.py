"""A lab that is brought up again and breaks on the way: libvirt's own driver for tests, no machine."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.hostkeys import generate_host_key
from freehold.console import Console
from freehold.errors import FreeholdError, LabError
from freehold.process import LocalRunner
from lab.bring import BringUp
from lab.carrier import OwnCarrier
from lab.lab import Lab
from lab.places import labs_dir
from lab.state import LabState, load_state, save_state
from lab.virt import Virt
from tests.unit.lab.programs import running
from tests.unit.lab.samples import SPEC, lab_state

IMAGE = {"key": "k", "suite": "trixie", "arch": "amd64", "cmdline": "ro", "virtual_size": 1 << 30}


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def known(tmp_path: Path) -> LabState:
    image = tmp_path / "image"
    image.mkdir()
    (image / "manifest.json").write_text(json.dumps(IMAGE))
    state = replace(lab_state(labs_dir().parent), uri="test:///default", private=False, image=image)
    save_state(state)
    return state


def up(known: LabState) -> None:
    """Without `web-2`, on an image that has no disk: it breaks when machines are made ready, or before."""
    spec = replace(SPEC, machines=(SPEC.machines[0], SPEC.machines[2]), image=known.image, accelerator="tcg")
    Lab("shop", runner=LocalRunner(), console=Console(out=io.StringIO(), err=io.StringIO())).up(spec)


def test_a_machine_that_cannot_be_removed_stays_known(
    known: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_virt: Virt, _uuid: str) -> None:
        raise LabError("the libvirt has gone")

    monkeypatch.setattr(Virt, "remove", broken)
    with pytest.raises(LabError, match="the libvirt has gone"):
        up(known)
    assert load_state("shop") == known


def test_machines_that_lost_their_sockets_are_not_taken_for_stopped(known: LabState, tmp_path: Path) -> None:
    state = replace(known, private=True, uri="qemu+unix:///session?socket=/nonexistent/sock")
    save_state(state)
    emulator = tmp_path / "qemu-system-x86_64"
    emulator.symlink_to("/bin/sh")
    disk = known.folder(known.machines[0]) / "disk.qcow2"
    with running([emulator, "-c", "read x", "sh", disk]) as process:
        with pytest.raises(LabError, match=f"process {process.pid}.*sockets in .* are gone") as caught:
            up(state)
        assert "lab down" in caught.value.hint
        assert "enable-linger" in caught.value.hint
        assert not (state.runtime / "virt").exists()
        assert process.poll() is None


def test_a_machine_that_is_removed_is_forgotten(known: LabState) -> None:
    folder = known.folder(known.machine("web-2"))
    folder.mkdir(parents=True)
    with pytest.raises((FreeholdError, OSError)):
        up(known)
    assert [machine.name for machine in load_state("shop").machines] == ["web-1", "db-1"]
    assert not folder.exists()


@pytest.mark.needs("qemu-img")
def test_a_machine_that_panicked_is_paused_and_started_anew(
    known: LabState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test driver goes on for ever, as an emulated processor does in a panic."""
    machine = known.machines[0]
    known.key.parent.mkdir(parents=True, exist_ok=True)
    known.key.with_name(f"{known.key.name}.pub").write_text(f"{generate_host_key().public}\n")
    (known.image / "vmlinuz").touch()
    LocalRunner().run(("qemu-img", "create", "-f", "qcow2", known.image / "disk.qcow2", "1M"))
    console = known.console(machine)
    console.parent.mkdir(parents=True)
    console.write_text("Linux version 6\nKernel panic - not syncing: no root\n")

    def bring(virt: Virt) -> BringUp:
        quiet = Console(out=io.StringIO(), err=io.StringIO())
        return BringUp(virt, known, [machine], runner=LocalRunner(), console=quiet)

    with Virt("test:///default") as virt:
        virt.define(
            f'<domain type="test"><name>{machine.name}</name><uuid>{machine.uuid}</uuid><memory>1024</memory>'
            "<os><type>hvm</type></os></domain>"
        )
        virt.start(machine.uuid)
        with pytest.raises(LabError, match="web-1: the kernel panicked"):
            bring(virt).run(time.monotonic() + 60)
        assert virt.state(machine.uuid) == "paused"
        cold = []
        monkeypatch.setattr(OwnCarrier, "ready", lambda _, machines, _say: cold.extend(machines))
        bring(virt).make_ready()
        assert cold == [machine]
        assert virt.state(machine.uuid) == "off"
        virt.domain(machine.uuid).undefine()
