"""The wire between the machines, as a value: which frame goes where, and what faults do to it.

Frames come from a machine's port; the switch learns which hardware address is behind which port and
sends the rest to all. A port `machine.network` hears only those of the same network; one without a dot is of
the network that every lab has. Faults belong to a machine's link: cut, delayed, slowed down, losing frames,
or apart from others by a partition. Nothing here touches a socket or a clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

GROUP_BIT = 0x01
SHORTEST = 14
# A slow link must not take the memory of all: frames beyond this many bytes are lost, as on a real port.
MOST_WAITING = 4 * 1024 * 1024


def network_of(port: str) -> str:
    """The network that a port is of."""
    return port.partition(".")[2]


@dataclass(frozen=True)
class Link:
    """A machine's link. `delay` and `jitter` in seconds each way, `loss` 0 to 1, `rate` in bit/s."""

    cut: bool = False
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1:
            raise ValueError("loss is a share between 0 and 1")
        if min(self.delay, self.jitter, self.rate) < 0:
            raise ValueError("delay, jitter and rate cannot be negative")


@dataclass(frozen=True)
class Delivery:
    """A frame that arrives at `port` at the time `when`, in seconds of the caller's clock."""

    when: float
    port: str
    frame: bytes


@dataclass
class Switch:
    """The state of the wire."""

    links: dict[str, Link] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    dice: random.Random = field(default_factory=random.Random)
    _learned: dict[tuple[str, bytes], str] = field(default_factory=dict)
    _busy_until: dict[str, float] = field(default_factory=dict)
    _last: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, port: str) -> None:
        """A machine's port; a port that is there stays as it is."""
        self.links.setdefault(port, Link())

    def remove(self, port: str) -> None:
        """Forget a port."""
        self.links.pop(port, None)
        self.groups.pop(port, None)
        self._learned = {place: known for place, known in self._learned.items() if known != port}
        self._clear(port)

    def fault(self, port: str, changes: Mapping[str, Any]) -> bool:
        """Change some properties of a link; whether that made another one of it.

        KeyError for an unknown port, ValueError for a bad value. A link that changed owes nothing to how it
        was: whoever holds frames that are under way on it brings them now, or drops them where it is cut.
        """
        before, self.links[port] = self.links[port], replace(self.links[port], **changes)
        if self.links[port] == before:
            return False
        self._clear(port)
        return True

    def _clear(self, port: str) -> None:
        """Forget the queue of a link, and which frames are under way on it."""
        self._busy_until.pop(port, None)
        self._last = {pair: when for pair, when in self._last.items() if port not in pair}

    def partition(self, groups: Iterable[Iterable[str]]) -> None:
        """Ports of different groups do not hear each other; ports that no group names are one more group."""
        self.groups = {port: number for number, group in enumerate(groups, 1) for port in group}

    def heal(self) -> None:
        """All links whole, no partition, no queue."""
        self.links = dict.fromkeys(self.links, Link())
        self.groups = {}
        self._busy_until.clear()
        self._last.clear()

    def forward(self, source: str, frame: bytes, now: float) -> list[Delivery]:
        """Where a frame from `source` goes, and when. Frames between two ports keep their order."""
        if len(frame) < SHORTEST or source not in self.links:
            return []
        network, destination, sender = network_of(source), frame[:6], frame[6:12]
        if not sender[0] & GROUP_BIT:
            self._learned[network, sender] = source
        known = None if destination[0] & GROUP_BIT else self._learned.get((network, destination))
        if known == source:
            return []
        targets = (
            [known]
            if known in self.links
            else [port for port in self.links if port != source and network_of(port) == network]
        )
        deliveries = []
        for port in targets:
            assert port is not None
            when = self._arrival(source, port, len(frame), now)
            if when is not None:
                deliveries.append(Delivery(when, port, frame))
        return deliveries

    def _arrival(self, source: str, port: str, size: int, now: float) -> float | None:
        if self.groups.get(source, 0) != self.groups.get(port, 0):
            return None
        when = now
        for name, link in ((source, self.links[source]), (port, self.links[port])):
            if link.cut or (link.loss and self.dice.random() < link.loss):
                return None
            if link.rate:
                begin = max(when, self._busy_until.get(name, 0.0))
                if (begin - when) * link.rate / 8 > MOST_WAITING:
                    return None
                when = self._busy_until[name] = begin + size * 8 / link.rate
            if link.delay or link.jitter:
                when += link.delay + link.jitter * self.dice.random()
        when = max(when, self._last.get((source, port), 0.0))
        self._last[source, port] = when
        return when
