"""Where a boot's seconds went, out of systemd's own words."""

import json

from lab.profile import BAR, MARK, UNKNOWN, Span, bar, parse, rows

TEXT = f"""\
UserspaceTimestampMonotonic=5000000
GeneratorsStartTimestampMonotonic=6000000
UnitsLoadFinishTimestampMonotonic=7500000
FinishTimestampMonotonic=40000000

Id=docker.service
InactiveExitTimestampMonotonic=30000000
ActiveEnterTimestampMonotonic=34500000
InactiveEnterTimestampMonotonic=0
CPUUsageNSec=3500000000

Id=once.service
InactiveExitTimestampMonotonic=10000000
ActiveEnterTimestampMonotonic=0
InactiveEnterTimestampMonotonic=12000000
CPUUsageNSec={UNKNOWN}

Id=never.service
InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
InactiveEnterTimestampMonotonic=0
CPUUsageNSec=[not set]
"""


def test_what_ran_has_a_begin_and_an_end() -> None:
    assert parse(TEXT) == (
        Span("kernel and initrd", 0.0, 5.0),
        Span("user space", 5.0, 40.0),
        Span("systemd: generators and units", 6.0, 7.5),
        Span("once.service", 10.0, 12.0),
        Span("docker.service", 30.0, 34.5, 3.5),
    )


def test_the_bars_stand_on_the_boots_own_time() -> None:
    assert bar(Span("a", 0, 40), 40) == "█" * BAR
    assert bar(Span("a", 20, 20.1), 40) == " " * (BAR // 2) + "█"
    assert rows(parse(TEXT))[0][0] == "kernel and initrd"


def test_the_steps_of_cloud_init_stand_on_the_same_line_of_time() -> None:
    events = [
        {"name": "init-local", "event_type": "start", "timestamp": 1005.0},
        {"name": "init-local/search-NoCloud", "event_type": "start", "timestamp": 1005.5},
        {"name": "init-local/search-NoCloud", "event_type": "finish", "timestamp": 1007.0},
        {"name": "init-network/config-ssh", "event_type": "start", "timestamp": 1009.0},
    ]
    record = f"{MARK}\n1060.000\n60.0 10.0\n{json.dumps(events)}\n"
    plain, found = parse(TEXT), parse(f"{TEXT}\n{record}")
    step = Span("cloud-init: init-local/search-NoCloud", 5.5, 7.0)
    assert [span for span in found if span not in plain] == [step]
    assert parse(f"{TEXT}\n{MARK}\n1060.0\n60.0 10.0\n") == plain
