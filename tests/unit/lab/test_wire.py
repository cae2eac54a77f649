"""The switch as a process, with sockets in the place of machines."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import LabError
from freehold.process import LocalRunner
from lab.wire import Wire

ALL = b"\xff" * 6
DEADLINE = 60.0


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path)
    made.ensure(["a", "b", "c"], LocalRunner())
    yield made
    made.end()


class Card:
    """What QEMU's `-netdev stream` is on the wire."""

    def __init__(self, wire: Wire, name: str, number: int) -> None:
        self.mac = bytes([2, 0, 0, 0, 0, number])
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(str(wire.socket(name)))

    def send(self, to: bytes, payload: bytes) -> None:
        frame = (to + self.mac + b"\x08\x00" + payload).ljust(60, b"\0")
        self.socket.sendall(len(frame).to_bytes(4, "big") + frame)

    def receive(self) -> bytes:
        size = int.from_bytes(self._exactly(4), "big")
        return self._exactly(size)[14:].rstrip(b"\0")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return data


def await_cards(wire: Wire, count: int) -> None:
    """Wait until so many are on the wire."""
    end = time.monotonic() + DEADLINE
    while len(wire.ask("state")["connected"]) < count:
        assert time.monotonic() < end, wire.ask("state")


@pytest.fixture
def cards(wire: Wire) -> Iterator[list["Card"]]:
    made = [Card(wire, name, number) for number, name in enumerate("abc", 1)]
    await_cards(wire, 3)
    yield made
    for card in made:
        card.socket.close()


def test_further_networks_are_apart_from_the_first(wire: Wire, cards: list[Card]) -> None:
    wire.ensure(["a", "b", "c", "a.back", "b.back"], LocalRunner())
    further = [Card(wire, name, number) for number, name in enumerate(("a.back", "b.back"), 4)]
    await_cards(wire, 5)
    further[0].send(b"\xff" * 6, b"behind")
    assert further[1].receive() == b"behind"
    # What comes first to the others is what was said on their network, although it was said later.
    cards[0].send(b"\xff" * 6, b"before")
    assert [card.receive() for card in cards[1:]] == [b"before", b"before"]
    wire.fault("a.back", cut=True)
    further[0].send(b"\xff" * 6, b"lost")
    cards[0].send(b"\xff" * 6, b"again")
    assert cards[1].receive() == b"again"
    wire.heal()
    further[0].send(b"\xff" * 6, b"healed")
    assert further[1].receive() == b"healed"
    for card in further:
        card.socket.close()


def test_three_machines_see_each_other(cards: list[Card]) -> None:
    a, b, c = cards
    a.send(ALL, b"who is there")
    assert b.receive() == c.receive() == b"who is there"
    b.send(a.mac, b"b is")
    assert a.receive() == b"b is"


def test_a_cut_machine_hears_nothing_until_it_is_healed(wire: Wire, cards: list[Card]) -> None:
    a, b, c = cards
    wire.fault("b", cut=True)
    a.send(ALL, b"first")
    # c has it, so the switch has dealt with the frame for b as well.
    assert c.receive() == b"first"
    wire.heal()
    a.send(ALL, b"second")
    assert b.receive() == b"second"


def test_what_is_under_way_arrives_when_the_link_is_healed(wire: Wire, cards: list[Card]) -> None:
    a, b, c = cards
    wire.fault("b", delay=3600.0)
    a.send(ALL, b"first")
    assert c.receive() == b"first"
    wire.heal()
    a.send(ALL, b"second")
    assert [b.receive(), b.receive()] == [b"first", b"second"]


def test_a_cut_loses_what_is_under_way_on_its_link_only(wire: Wire, cards: list[Card]) -> None:
    a, b, c = cards
    for port in "bc":
        wire.fault(port, delay=3600.0)
    a.send(ALL, b"first")
    a.send(ALL, b"second")
    deadline = time.monotonic() + DEADLINE
    while wire.ask("state")["frames"] < 2:
        assert time.monotonic() < deadline
    wire.fault("b", cut=True)
    wire.fault("c", delay=0.0)
    a.send(ALL, b"third")
    assert [c.receive() for _ in range(3)] == [b"first", b"second", b"third"]
    wire.heal()
    a.send(ALL, b"fourth")
    assert b.receive() == b"fourth"


def test_a_partition_holds_until_it_is_healed(wire: Wire, cards: list[Card]) -> None:
    a, b, c = cards
    wire.partition([["a", "b"], ["c"]])
    a.send(ALL, b"first")
    assert b.receive() == b"first"
    wire.partition([])
    a.send(ALL, b"second")
    assert c.receive() == b"second"


def test_a_machine_that_comes_again_replaces_its_old_connection(wire: Wire, cards: list[Card]) -> None:
    a, b, _ = cards
    again = Card(wire, "b", 2)
    with again.socket:
        assert b.socket.recv(1) == b""
        a.send(ALL, b"hello again")
        assert again.receive() == b"hello again"


def test_a_second_ensure_keeps_the_process_and_takes_new_ports(wire: Wire) -> None:
    pid = wire.pid
    wire.ensure(["a", "d"], LocalRunner())
    assert wire.pid == pid
    assert set(wire.ask("state")["links"]) == {"a", "d"}
    assert not wire.socket("b").exists()


def test_bad_requests_are_refused_and_the_switch_goes_on(wire: Wire) -> None:
    requests: tuple[dict[str, Any], ...] = (
        {"port": "z", "changes": {}},
        {"port": "a", "changes": {"loss": 7}},
    )
    for request in requests:
        with pytest.raises(LabError, match="refused"):
            wire.ask("fault", **request)
    assert wire.ask("state")["links"]["a"]["loss"] == 0


def test_the_end_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    wire = Wire(tmp_path)
    wire.ensure(["a"], LocalRunner())
    pid = wire.pid
    assert pid is not None
    assert pid != os.getpid()
    wire.end()
    assert wire.pid is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LabError, match="does not answer"):
        wire.ask("state")
