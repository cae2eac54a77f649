"""Ruby values as Python's, and what Ruby makes of them: truth, text, numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

Value = Any
"""None, bool, int, float, str, list, dict or range."""
Apply = Callable[..., Value]
"""Calls the block of a method."""

MAX_TEXT = 1_000_000


def truthy(value: Value) -> bool:
    """Ruby's truth: all but nil and false."""
    return value is not None and value is not False


def text(value: Value) -> str:
    """Ruby's `to_s`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return inspect(value)
    return str(value)


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
    return text(value)


def blank(value: Value) -> bool:
    """Rails' `blank?`."""
    return value in (None, False) or (not value.strip() if isinstance(value, str) else value in ([], {}))


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


def pattern(value: Value) -> re.Pattern[str]:
    """A regular expression, or a text as one."""
    return value if isinstance(value, re.Pattern) else re.compile(re.escape(text(value)))


def regexp(source: str, flags: str) -> re.Pattern[str]:
    """A regular expression of Ruby; `re.error` where Python has no such form."""
    plain = source.replace(r"\A", "^").replace(r"\z", r"\Z").replace(r"\h", "[0-9a-fA-F]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(plain, re.MULTILINE | (re.IGNORECASE if "i" in flags else 0))
