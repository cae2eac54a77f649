"""What a hypervisor keeps for a lab, before and after a reboot: real storage, and libvirt's test driver."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from freehold.environment import which
from freehold.process import LocalRunner
from lab import daemon
from lab.hypervisors import make_ready, pool, revive
from lab.natnet import base_name, lan_name
from lab.state import Hypervisor, LabState
from lab.virt import Virt
from lab.virtpool import Pool
from tests.conftest import cannot_run
from tests.unit.lab.samples import lab_state

TEST = "test:///default"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The connection to a libvirt of the test's own."""
    if not any(which(name) for name in daemon.PROGRAMS):
        cannot_run("unit", "no libvirt daemon is installed")
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path))
    with TemporaryDirectory(prefix="fh") as folder:
        runtime = Path(folder) / "lab"
        uri = f"qemu+unix:///session?socket={daemon._socket(runtime)}"
        daemon.ensure(runtime, LocalRunner())
        try:
            with Virt(uri) as virt:
                yield virt.connection(uri)
        finally:
            daemon.end(runtime)


def test_a_pool_that_nobody_started_is_unknown_until_it_is_wanted(storage: Any, tmp_path: Path) -> None:
    made = Pool(storage, "shop", tmp_path / "pool")
    assert (made.used("disk"), made.read("console", 0)) == (0, b"")
    made.ensure()
    made.create("disk", 1024 * 1024, kind="raw")
    size = made.used("disk")
    storage.storagePoolLookupByName("shop").destroy()
    assert (made.used("disk"), made.read("disk", 0)) == (0, b"")
    made.ensure()
    assert made.names() == ("disk",)
    assert made.used("disk") == size


def test_a_pool_whose_directory_is_gone_can_be_removed(storage: Any, tmp_path: Path) -> None:
    made = Pool(storage, "shop", tmp_path / "pool")
    made.ensure()
    storage.storagePoolLookupByName("shop").destroy()
    made.path.rmdir()
    made.remove()
    assert storage.listAllStoragePools() == []
    assert not made.path.exists()


@pytest.fixture
def virt() -> Iterator[Virt]:
    with Virt(TEST) as opened:
        yield opened


def test_what_a_reboot_stopped_is_started_again(virt: Virt, tmp_path: Path) -> None:
    there = Hypervisor("", TEST, "tcg", "", tmp_path)
    state: LabState = replace(lab_state(), machines=(), hypervisors=(there,), token="abc123")
    state = replace(state, hypervisors=make_ready(virt, state, LocalRunner()))
    connection = virt.connection(TEST)
    name = base_name("shop", "abc123")
    carrying = [
        connection.storagePoolLookupByName(name),
        *(connection.networkLookupByName(item) for item in (name, lan_name(state))),
    ]
    for item in carrying:
        item.destroy()
    revive(virt, state, state.hypervisors[0])
    assert [bool(item.isActive()) for item in carrying] == [True, True, True]
    assert pool(virt, state, state.hypervisors[0]).open
