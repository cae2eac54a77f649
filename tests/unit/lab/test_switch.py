"""The switch: learning, faults, order; and the daemon's framing."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.framing import Frames
from lab.switch import Delivery, Link, Switch

A, B, C = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 3))
ALL = b"\xff" * 6


def frame(to: bytes, sender: bytes, size: int = 60) -> bytes:
    return (to + sender + b"\x08\x00").ljust(size, b"\0")


@pytest.fixture
def switch() -> Switch:
    made = Switch(dice=random.Random(1))
    for port in "abc":
        made.add(port)
    return made


def ports(deliveries: list[Delivery]) -> list[str]:
    return sorted(item.port for item in deliveries)


def test_broadcast_goes_to_all_others(switch: Switch) -> None:
    assert ports(switch.forward("a", frame(ALL, A), 0)) == ["b", "c"]


def test_a_learned_address_goes_to_its_port_only(switch: Switch) -> None:
    switch.forward("b", frame(ALL, B), 0)
    assert ports(switch.forward("a", frame(B, A), 0)) == ["b"]


def test_an_unknown_address_goes_to_all(switch: Switch) -> None:
    assert ports(switch.forward("a", frame(C, A), 0)) == ["b", "c"]


def test_a_machine_that_moves_is_found_again(switch: Switch) -> None:
    switch.forward("b", frame(ALL, B), 0)
    switch.forward("c", frame(ALL, B), 0)
    assert ports(switch.forward("a", frame(B, A), 0)) == ["c"]


def test_a_removed_port_is_forgotten(switch: Switch) -> None:
    switch.forward("b", frame(ALL, B), 0)
    switch.remove("b")
    assert ports(switch.forward("a", frame(B, A), 0)) == ["c"]


@pytest.mark.parametrize("port", ["a", "b"])
def test_a_cut_link_carries_nothing_either_way(switch: Switch, port: str) -> None:
    switch.fault(port, {"cut": True})
    assert "b" not in ports(switch.forward("a", frame(ALL, A), 0))


def test_delay_adds_up_over_both_links(switch: Switch) -> None:
    switch.fault("a", {"delay": 0.05})
    switch.fault("b", {"delay": 0.01})
    when = {item.port: item.when for item in switch.forward("a", frame(ALL, A), 10.0)}
    assert when["b"] == pytest.approx(10.06)
    assert when["c"] == pytest.approx(10.05)


def test_rate_spaces_frames_out(switch: Switch) -> None:
    switch.fault("b", {"rate": 8000.0})
    first, second = (switch.forward("a", frame(ALL, A, 1000), 0.0)[0].when for _ in range(2))
    assert (first, second) == (1.0, 2.0)


def test_loss_takes_its_share(switch: Switch) -> None:
    switch.fault("b", {"loss": 0.25})
    got = sum("b" in ports(switch.forward("a", frame(ALL, A), 0)) for _ in range(4000))
    assert 2850 < got < 3150


@given(st.lists(st.floats(0, 0.01), min_size=2, max_size=20), st.floats(0, 1))
def test_jitter_never_changes_the_order(gaps: list[float], jitter: float) -> None:
    switch = Switch(dice=random.Random(2))
    switch.add("a")
    switch.add("b")
    switch.fault("b", {"jitter": jitter})
    now, arrivals = 0.0, []
    for gap in gaps:
        now += gap
        arrivals.append(switch.forward("a", frame(ALL, A), now)[0].when)
    assert arrivals == sorted(arrivals)


def test_a_partition_keeps_groups_apart_and_heal_ends_it(switch: Switch) -> None:
    switch.partition([["a"], ["b"]])
    assert ports(switch.forward("a", frame(ALL, A), 0)) == []
    switch.fault("c", {"cut": True})
    switch.heal()
    assert ports(switch.forward("a", frame(ALL, A), 0)) == ["b", "c"]


def test_a_healed_link_owes_nothing_to_how_it_was(switch: Switch) -> None:
    switch.fault("b", {"rate": 64_000.0})
    switch.fault("c", {"delay": 60.0})
    while "b" in ports(switch.forward("a", frame(ALL, A, 1500), 0.0)):
        pass  # until its queue is full
    switch.heal()
    assert {item.port: item.when for item in switch.forward("a", frame(ALL, A), 2.0)} == {"b": 2.0, "c": 2.0}


def test_a_link_that_changes_forgets_its_queue_and_no_other_does(switch: Switch) -> None:
    for port in "bc":
        switch.fault(port, {"rate": 8000.0})
    switch.forward("a", frame(ALL, A, 1000), 0.0)
    assert switch.fault("b", {"rate": 8_000_000.0})
    assert not switch.fault("c", {"rate": 8000.0})
    when = {item.port: item.when for item in switch.forward("a", frame(ALL, A, 1000), 0.0)}
    assert when == {"b": 0.001, "c": 2.0}


def test_networks_do_not_hear_each_other(switch: Switch) -> None:
    for port in ("a.back", "b.back", "c.other"):
        switch.add(port)
    assert ports(switch.forward("a.back", frame(ALL, A), 0)) == ["b.back"]
    assert ports(switch.forward("a", frame(ALL, A), 0)) == ["b", "c"]
    # The same hardware address may be in two networks; what was learned in one says nothing of another.
    switch.forward("b", frame(ALL, B), 0)
    assert ports(switch.forward("a.back", frame(B, A), 0)) == ["b.back"]
    switch.forward("b.back", frame(ALL, B), 0)
    assert ports(switch.forward("a", frame(B, A), 0)) == ["b"]
    assert ports(switch.forward("c.other", frame(B, C), 0)) == []


@pytest.mark.parametrize("bad", [{"loss": 1.5}, {"delay": -1}, {"rate": -1}])
def test_impossible_links_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Link(**bad)


def test_a_runt_or_an_unknown_port_is_dropped(switch: Switch) -> None:
    assert switch.forward("a", b"short", 0) == []
    assert switch.forward("z", frame(ALL, A), 0) == []


@given(st.lists(st.binary(max_size=2000), max_size=8), st.integers(1, 700))
def test_frames_survive_any_slicing_of_the_stream(frames: list[bytes], step: int) -> None:
    stream = b"".join(len(item).to_bytes(4, "big") + item for item in frames)
    reader, found = Frames(), []
    for start in range(0, len(stream), step):
        found += reader.feed(stream[start : start + step])
    assert found == frames


def test_a_stream_that_is_none_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        Frames().feed(b"GET / HTTP/1.1\r\n")
