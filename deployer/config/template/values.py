"""Ruby values as Python's, and what Ruby makes of them: truth, text, numbers."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Value = Any
"""None, bool, int, float, str, list, dict or Span."""
Apply = Callable[..., Value]
"""Calls the block of a method."""

MAX_TEXT = 1_000_000


@dataclass(frozen=True)
class Span:
    """Ruby's range of whole numbers; without `last` it has no end."""

    first: int
    last: int | None
    exclusive: bool

    def numbers(self) -> range:
        """The numbers themselves."""
        last = sys.maxsize if self.last is None else self.last
        return range(self.first, last + (not self.exclusive))

    def of(self, value: str | list[Value]) -> Value:
        """The part of a text or list: negative numbers count from its end."""
        start = self.first + len(value) if self.first < 0 else self.first
        stop = len(value)
        if self.last is not None:
            stop = self.last + (len(value) if self.last < 0 else 0) + (not self.exclusive)
        return part(value, start, max(stop - start, 0))


def part(value: str | list[Value], start: int, count: int) -> Value:
    """Ruby's `value[start, count]` of a text or list; nil where it begins outside."""
    start += len(value) if start < 0 else 0
    return value[start : start + count] if 0 <= start <= len(value) and count >= 0 else None


def last(value: str | list[Value], count: int = 1) -> Value:
    """The end of a text or list."""
    return value[max(len(value) - count, 0) :]


def truthy(value: Value) -> bool:
    """Ruby's truth: all but nil and false."""
    return value is not None and value is not False


def text(value: Value) -> str:
    """Ruby's `to_s`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict | Span):
        return inspect(value)
    if callable(value):
        raise TypeError("a block is no text")
    return str(value)


def to_json(value: Value) -> str:
    """Ruby's `to_json`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def inspect(value: Value) -> str:
    """Ruby's `inspect`."""
    if value is None:
        return "nil"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(inspect(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inspect(key)} => {inspect(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Span):
        end = "" if value.last is None else value.last
        return f"{value.first}{'...' if value.exclusive else '..'}{end}"
    return text(value)


def blank(value: Value) -> bool:
    """Rails' `blank?`."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value is False or value in ([], {})


def integer(value: Value) -> int:
    """Ruby's `to_i`: the digits in front, or zero."""
    if isinstance(value, int | float):
        return int(value)
    match = re.match(r"\s*([-+]?\d[\d_]*)", text(value))
    return int(match[1].replace("_", "")) if match else 0


def number(value: Value) -> float:
    """Ruby's `to_f`."""
    match = re.match(r"\s*[-+]?\d+(\.\d+)?", text(value))
    return float(match[0]) if match else 0.0


_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
}


def pattern(value: Value) -> re.Pattern[str]:
    """A regular expression, or a text as one."""
    return value if isinstance(value, re.Pattern) else re.compile(re.escape(text(value)))


def regexp(source: str, flags: str) -> re.Pattern[str]:
    """A regular expression of Ruby; `re.error` where Python has no such form."""
    plain = source.replace(r"\Z", r"(?=\n?\Z)").replace(r"\z", r"\Z").replace(r"\h", "[0-9a-fA-F]")
    plain = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", plain)
    plain = re.sub(r"\[:(\w+):\]", lambda match: _CLASSES.get(match[1], match[0]), plain)
    chosen = re.MULTILINE
    for flag, ours in (("i", re.IGNORECASE), ("m", re.DOTALL), ("x", re.VERBOSE)):
        chosen |= ours if flag in flags else re.NOFLAG
    with warnings.catch_warnings():
        # Python would take a class of Ruby's inside brackets for its characters.
        warnings.simplefilter("error", FutureWarning)
        try:
            return re.compile(plain, chosen)
        except FutureWarning as exc:
            raise re.error(str(exc)) from exc
