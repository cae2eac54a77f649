"""Where the seconds of a boot went, from what systemd and cloud-init know. A command and a pure parser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MARK = "== cloud-init"
# One round trip: the manager's own times, an empty line, then a block for each service; behind the mark the
# moment now, seconds since the kernel's start, and cloud-init's own record.
COMMAND = (
    "systemctl show -p UserspaceTimestampMonotonic -p GeneratorsStartTimestampMonotonic "
    "-p UnitsLoadFinishTimestampMonotonic -p FinishTimestampMonotonic; echo; "
    "systemctl show '*.service' '*.mount' -p Id -p InactiveExitTimestampMonotonic "
    "-p ActiveEnterTimestampMonotonic -p InactiveEnterTimestampMonotonic -p CPUUsageNSec; "
    f"echo '{MARK}'; date +%s.%N; cat /proc/uptime; sudo cloud-init analyze dump"
)
HEADERS = ("what", "begins", "takes", "processor", "")
MOST = 14
BAR = 40
# What systemd says where it has no number: 2^64 - 1.
UNKNOWN = 2**64 - 1


@dataclass(frozen=True)
class Span:
    """Something of a boot: seconds since the kernel's start, and seconds of processor (0: unknown)."""

    name: str
    begin: float
    end: float
    cpu: float = 0.0

    @property
    def takes(self) -> float:
        """How long it took."""
        return self.end - self.begin


def parse(text: str) -> tuple[Span, ...]:
    """The spans out of what COMMAND prints, in the order in which they began."""
    told, _, record = text.partition(f"{MARK}\n")
    manager, *units = [_block(block) for block in told.split("\n\n")]
    user = _seconds(manager, "UserspaceTimestampMonotonic")
    finish = _seconds(manager, "FinishTimestampMonotonic")
    found = [Span("kernel and initrd", 0.0, user), Span("user space", user, max(user, finish))]
    loaded = _seconds(manager, "UnitsLoadFinishTimestampMonotonic")
    begun = _seconds(manager, "GeneratorsStartTimestampMonotonic")
    if 0 < begun < loaded:
        found.append(Span("systemd: generators and units", begun, loaded))
    for unit in units:
        begin = _seconds(unit, "InactiveExitTimestampMonotonic")
        active, inactive = (
            _seconds(unit, f"{name}TimestampMonotonic") for name in ("ActiveEnter", "InactiveEnter")
        )
        # A one-shot service that does not stay has ended where it became inactive.
        ends = [moment for moment in (active, inactive) if moment >= begin]
        if begin and ends:
            found.append(Span(unit.get("Id", "?"), begin, min(ends), _number(unit, "CPUUsageNSec") / 1e9))
    found += _cloud_init(record)
    return tuple(sorted(found, key=lambda span: span.begin))


def _cloud_init(record: str) -> list[Span]:
    """The steps of cloud-init's stages, of `cloud-init analyze dump`: a list of events with epoch times."""
    now, _, rest = record.partition("\n")
    uptime, _, events = rest.partition("\n")
    try:
        booted = float(now) - float(uptime.split()[0])
        known = json.loads(events)
    except (ValueError, IndexError):
        # An image without cloud-init, or one that has not run.
        return []
    begun: dict[str, float] = {}
    found = []
    for event in known:
        # A stage is a unit of systemd's, which is there already; its steps are below its name.
        name, moment = str(event.get("name", "")), float(event.get("timestamp", 0)) - booted
        if "/" not in name:
            continue
        if event.get("event_type") == "start":
            begun[name] = moment
        elif name in begun and moment >= begun[name] >= 0:
            found.append(Span(f"cloud-init: {name}", begun.pop(name), moment))
    return found


def _block(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _number(block: Mapping[str, str], name: str) -> int:
    text = block.get(name, "")
    return int(text) if text.isdigit() and int(text) != UNKNOWN else 0


def _seconds(block: Mapping[str, str], name: str) -> float:
    return _number(block, name) / 1e6


def rows(spans: Sequence[Span]) -> list[tuple[str, ...]]:
    """The longest of them as rows under HEADERS, each with a bar on the boot's own time."""
    whole = max((span.end for span in spans), default=1.0) or 1.0
    longest = sorted(spans, key=lambda span: -span.takes)[:MOST]
    return [
        (
            span.name,
            f"{span.begin:.1f} s",
            f"{span.takes:.1f} s",
            f"{span.cpu:.1f} s" if span.cpu else "-",
            bar(span, whole),
        )
        for span in sorted(longest, key=lambda span: span.begin)
    ]


def bar(span: Span, whole: float) -> str:
    """The span's part of the boot, as a line of BAR letters."""
    begin = round(span.begin / whole * BAR)
    end = max(begin + 1, round(span.end / whole * BAR))
    return " " * begin + "█" * (end - begin)


def objects(spans: Sequence[Span]) -> list[dict[str, object]]:
    """For `--json`."""
    return [{"name": span.name, "begin": span.begin, "end": span.end, "cpu": span.cpu} for span in spans]
