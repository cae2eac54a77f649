"""Times in cron's five fields, and the same times as systemd writes them."""

from __future__ import annotations

from collections.abc import Sequence

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("weekday", 0, 7, DAYS),
)


def calendar(text: str, timezone: str = "UTC") -> tuple[str, ...]:
    """The `OnCalendar` values of a schedule in cron's form; ValueError says what is wrong with it.

    As in cron, a day matches when either its date or its weekday does, if both are given: two values.
    """
    words = NICKNAMES.get(text.strip().lower(), text).split()
    if len(words) != len(FIELDS):
        raise ValueError(f"expected five fields (minute hour day month weekday) or @daily, found {text!r}")
    minute, hour, day, month, weekday = (
        _values(word, name, low, high, names)
        for word, (name, low, high, names) in zip(words, FIELDS, strict=True)
    )
    time = f"{_list(hour, 24)}:{_list(minute, 60)}:00 {timezone}"
    # Sunday is 0 and 7.
    days = sorted({number % 7 for number in weekday}, key=lambda number: number or 7)
    date = f"*-{_list(month, 12)}-{_list(day, 31)}"
    names = ",".join(DAYS[number].capitalize() for number in days)
    if len(days) == 7:
        return (f"{date} {time}",)
    if words[2].startswith("*"):
        return (f"{names} {date} {time}",)
    return (f"{date} {time}", f"{names} *-{_list(month, 12)}-* {time}")


def _list(values: Sequence[int], whole: int) -> str:
    return "*" if len(values) == whole else ",".join(f"{value:02d}" for value in values)


def _values(word: str, name: str, low: int, high: int, names: Sequence[str]) -> list[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, name, 1, high) if slash else 1
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, name, low, high, names)
            last = _number(end, name, low, high, names) if dash else (high if slash else first)
        if first > last:
            raise ValueError(f"the {name} {part!r} runs backwards")
        found |= set(range(first, last + 1, step))
    return sorted(found)


def _number(text: str, name: str, low: int, high: int, names: Sequence[str] = ()) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + (1 if names is MONTHS else 0)
    if not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"the {name} {text!r} is not between {low} and {high}")
    return int(text)
