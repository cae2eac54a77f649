"""Cron's five fields as systemd writes the same times."""

from __future__ import annotations

import pytest

from deployer.config.schedule import calendar


@pytest.mark.parametrize(
    ("cron", "times"),
    [
        ("* * * * *", ("*-*-* *:*:00 UTC",)),
        ("*/15 * * * *", ("*-*-* *:00,15,30,45:00 UTC",)),
        ("30 3 * * *", ("*-*-* 03:30:00 UTC",)),
        ("0 0 * * 0", ("Sun *-*-* 00:00:00 UTC",)),
        ("0 0 * * 7", ("Sun *-*-* 00:00:00 UTC",)),
        ("0 9-17/4 * * mon-fri", ("Mon,Tue,Wed,Thu,Fri *-*-* 09,13,17:00:00 UTC",)),
        ("5 4 1,15 feb *", ("*-02-01,15 04:05:00 UTC",)),
        # Cron runs when either day matches.
        ("0 0 13 * 5", ("*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC")),
        ("0 12 */10 * *", ("*-*-01,11,21,31 12:00:00 UTC",)),
        ("@daily", ("*-*-* 00:00:00 UTC",)),
        ("@monthly", ("*-*-01 00:00:00 UTC",)),
    ],
)
def test_a_schedule(cron: str, times: tuple[str, ...]) -> None:
    assert calendar(cron) == times


def test_a_time_zone() -> None:
    assert calendar("0 5 * * *", "Europe/Berlin") == ("*-*-* 05:00:00 Europe/Berlin",)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("60 * * * *", "minute '60' is not between 0 and 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day '0' is not between 1"),
        ("* * * smarch *", "month 'smarch'"),
        ("* * * * fri-mon", "weekday 'fri-mon' runs backwards"),
        ("*/0 * * * *", "minute '0' is not between 1"),
        ("* * * *", "expected five fields"),
        ("@reboot", "expected five fields"),
        ("1, * * * *", "minute ''"),
    ],
)
def test_what_is_no_schedule(cron: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        calendar(cron)
