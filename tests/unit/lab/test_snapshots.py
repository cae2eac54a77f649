"""Snapshots: their names, and libvirt's own driver for tests."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from freehold.console import Console
from freehold.errors import LabError, UsageError
from freehold.process import LocalRunner
from lab.lab import Lab
from lab.moments import Moments, check_snapshot_name
from lab.places import labs_dir
from lab.snapshots import common, further, names
from lab.state import LabState, save_state
from lab.virt import Virt
from tests.unit.lab.samples import lab_state

TEST = "test:///default"


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def virt() -> Iterator[Virt]:
    """libvirt's test driver: what is made there stays while this connection is open."""
    with Virt(TEST) as opened:
        yield opened


@pytest.fixture
def state(virt: Virt) -> Iterator[LabState]:
    """A lab whose machines run on the test driver."""
    made = replace(lab_state(labs_dir().parent), uri=TEST, private=False)
    save_state(made)
    for machine in made.machines:
        virt.define(
            f'<domain type="test"><name>{machine.name}</name><uuid>{machine.uuid}</uuid><memory>1024</memory>'
            "<os><type>hvm</type></os></domain>"
        )
        virt.start(machine.uuid)
    yield made
    for machine in made.machines:
        # Not `remove`: the test driver knows no firmware variables.
        virt.destroy(machine.uuid)
        virt.domain(machine.uuid).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)


@pytest.fixture
def moments() -> Moments:
    console = Console(out=io.StringIO(), err=io.StringIO())
    return Moments(Lab("shop", runner=LocalRunner(), console=console))


def test_a_name_stands_for_its_last_snapshot() -> None:
    assert names(("clean", "other", "clean..1")) == ("other", "clean")
    assert further("clean", [("other",), ()]) == "clean"
    assert further("clean", [("clean",), ("clean..3", "other..7")]) == "clean..4"
    # One machine has no second one, so the first is where all can go back to.
    assert common([("clean", "other", "clean..1"), ("clean", "other")]) == {
        "clean": "clean",
        "other": "other",
    }
    assert common([("clean", "other", "clean..1"), ("other", "clean..1")]) == {
        "other": "other",
        "clean": "clean..1",
    }


def test_every_name_that_libvirt_is_told_is_one_for_qemu() -> None:
    # What QEMU takes for the id of the job that saves it.
    told = further("web-1.clean_2", [("web-1.clean_2",)])
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", told)
    with pytest.raises(UsageError, match="no name for a snapshot"):
        check_snapshot_name(told)


def test_a_snapshot_replaces_one_of_its_name(virt: Virt, state: LabState, moments: Moments) -> None:
    for name in ("clean", "other", "clean"):
        moments.take(name)
    assert sorted(moments.names()) == ["clean", "other"]
    assert {tuple(sorted(virt.snapshots(item.uuid))) for item in state.machines} == {("clean..1", "other")}
    moments.forget("clean")
    assert moments.names() == ("other",)


def test_a_snapshot_that_fails_leaves_the_one_before(virt: Virt, state: LabState, moments: Moments) -> None:
    moments.take("clean")
    last = state.machines[-1]

    class Full(Virt):
        """A libvirt that finds no room for one of the machines."""

        def snapshot(self, uuid: str, name: str) -> None:
            if uuid == last.uuid:
                raise LabError("no space left on device")
            super().snapshot(uuid, name)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(LabError, match="no space"):
        patch.setattr("lab.lab.Virt", Full)
        moments.take("clean")
    assert moments.names() == ("clean",)
    assert {virt.snapshots(item.uuid) for item in state.machines} == {("clean",)}
