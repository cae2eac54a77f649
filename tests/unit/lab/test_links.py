"""Groups that are apart on libvirt's networks, with libvirt's own driver for tests."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import links as module
from lab.links import links, read_note
from lab.natnet import lan_name, lan_xml
from lab.state import Hypervisor, LabState
from lab.virt import Virt
from lab.virtnet import Networks
from tests.unit.lab.samples import lab_state

TEST = "test:///default"
LAN = "freehold-shop-abc123-lan"


@pytest.fixture
def virt() -> Iterator[Virt]:
    """What is made there stays while this connection is open."""
    with Virt(TEST) as opened:
        yield opened


@pytest.fixture
def state(virt: Virt, tmp_path: Path) -> Iterator[LabState]:
    """A lab with a machine that runs and two that do not."""
    there = Hypervisor("", TEST, "tcg", "", tmp_path)
    made = replace(lab_state(tmp_path), hypervisors=(there,), token="abc123")
    made.directory.mkdir(parents=True)
    Networks(virt.connection(TEST)).ensure(lan_name(made), lan_xml(made))
    uuid = made.machines[0].uuid
    virt.define(
        f'<domain type="test"><name>web-1</name><uuid>{uuid}</uuid><memory>1024</memory>'
        "<os><type>hvm</type></os></domain>"
    )
    virt.start(uuid)
    yield made
    virt.destroy(uuid)
    virt.domain(uuid).undefine()
    for name in there_are(virt):
        Networks(virt.connection(TEST)).remove(name)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the running machine's card was put: the test driver changes no cards."""
    places: list[str] = []

    def set_cable(*_words: Any, network: str, up: bool) -> None:
        places.append(network)

    monkeypatch.setattr(module, "set_cable", set_cable)
    return places


def there_are(virt: Virt) -> list[str]:
    return sorted(item.name for item in Networks(virt.connection(TEST)).owned())


def test_fewer_groups_leave_no_network_of_more(virt: Virt, state: LabState, moved: list[str]) -> None:
    cables = links(virt, state)
    cables.partition([["db-1"], ["web-2"], ["web-1"]])
    assert there_are(virt) == [LAN, f"{LAN}-2", f"{LAN}-3", f"{LAN}-4"]
    cables.partition([["web-1"]])
    assert there_are(virt) == [LAN, f"{LAN}-2"]
    cables.heal()
    assert there_are(virt) == [LAN]
    assert moved == [f"{LAN}-4", f"{LAN}-2", LAN]


def test_a_partition_that_is_broken_off_is_healed(
    virt: Virt, state: LabState, moved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_words: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    cables = links(virt, state)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "set_cable", interrupted)
        cables.partition([["web-1"], ["db-1"]])
    assert f"{LAN}-3" in there_are(virt)
    cables.heal()
    assert moved == [LAN]
    assert there_are(virt) == [LAN]
    assert read_note(state) == {"links": {}, "groups": {}}
