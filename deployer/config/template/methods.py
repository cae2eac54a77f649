"""Methods of strings and numbers that ERB tags use, and which methods a value has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from deployer.config.template.collections import HASH, LIST
from deployer.config.template.values import (
    MAX_TEXT,
    Value,
    blank,
    inspect,
    integer,
    number,
    pattern,
    text,
    truthy,
)


def _replacement(value: Value) -> str:
    return re.sub(r"\\(\d)", r"\\g<\1>", text(value).replace("\\\\", "\\\\\\\\"))


def _split(value: str, separator: Value = None, limit: int = 0) -> list[str]:
    if separator is None or separator == " ":
        return value.split()
    parts = pattern(separator).split(value, maxsplit=limit - 1 if limit else 0)
    while parts and not parts[-1]:
        parts.pop()
    return parts


def _chomp(value: str, suffix: str | None = None) -> str:
    return value.removesuffix(suffix) if suffix else re.sub(r"\r?\n\Z|\r\Z", "", value)


def _index(value: str, first: Value, length: int | None = None) -> Value:
    if isinstance(first, range):
        return value[first.start : first.stop]
    if isinstance(first, re.Pattern):
        match = first.search(value)
        return None if match is None else match[length or 0]
    if isinstance(first, str):
        return first if first in value else None
    if not -len(value) <= first <= len(value):
        return None
    start = first if first >= 0 else first + len(value)
    return value[start : start + (1 if length is None else length)]


STRING: Mapping[str, Callable[..., Value]] = {
    "strip": str.strip,
    "lstrip": str.lstrip,
    "rstrip": str.rstrip,
    "chomp": _chomp,
    "chop": lambda value: value[:-1],
    "squish": lambda value: " ".join(value.split()),
    "upcase": str.upper,
    "downcase": str.lower,
    "capitalize": str.capitalize,
    "swapcase": str.swapcase,
    "reverse": lambda value: value[::-1],
    "length": len,
    "size": len,
    "empty?": lambda value: not value,
    "include?": lambda value, part: part in value,
    "start_with?": lambda value, *parts: value.startswith(parts),
    "end_with?": lambda value, *parts: value.endswith(parts),
    "split": _split,
    "lines": lambda value: value.splitlines(keepends=True),
    "each_line": lambda value, apply: [apply(line) for line in value.splitlines(keepends=True)],
    "chars": list,
    "delete_prefix": str.removeprefix,
    "delete_suffix": str.removesuffix,
    "delete": lambda value, chars: "".join(char for char in value if char not in chars),
    "gsub": lambda value, old, new: pattern(old).sub(_replacement(new), value),
    "sub": lambda value, old, new: pattern(old).sub(_replacement(new), value, count=1),
    "tr": lambda value, old, new: value.translate(_translation(old, new)),
    "match?": lambda value, old: pattern(old).search(value) is not None,
    "=~": lambda value, old: None if (found := pattern(old).search(value)) is None else found.start(),
    "index": lambda value, part: None if (at := value.find(part)) < 0 else at,
    "ljust": lambda value, width, fill=" ": value.ljust(min(width, 10_000), fill),
    "rjust": lambda value, width, fill=" ": value.rjust(min(width, 10_000), fill),
    "[]": _index,
    "slice": _index,
    "first": lambda value, count=1: value[:count],
    "last": lambda value, count=1: value[-count:],
    "to_sym": lambda value: value,
    "to_str": lambda value: value,
    "concat": lambda value, other: value + text(other),
    "+": lambda value, other: value + other,
    "<<": lambda value, other: value + other,
    "*": lambda value, count: value * min(count, MAX_TEXT // max(len(value), 1)),
    "%": lambda value, given: value % (tuple(given) if isinstance(given, list) else given),
    "<": lambda value, other: value < other,
    ">": lambda value, other: value > other,
    "<=": lambda value, other: value <= other,
    ">=": lambda value, other: value >= other,
}


def _translation(old: str, new: str) -> dict[int, str | None]:
    source = re.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), old)
    target = re.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), new)
    if not target:
        return {ord(char): None for char in source}
    return {ord(char): target[min(at, len(target) - 1)] for at, char in enumerate(source)}


NUMBER: Mapping[str, Callable[..., Value]] = {
    "+": lambda value, other: value + other,
    "-": lambda value, other: value - other,
    "*": lambda value, other: value * other,
    "/": lambda value, other: (
        value // other if isinstance(value, int) and isinstance(other, int) else value / other
    ),
    "%": lambda value, other: value % other,
    "<": lambda value, other: value < other,
    ">": lambda value, other: value > other,
    "<=": lambda value, other: value <= other,
    ">=": lambda value, other: value >= other,
    "<=>": lambda value, other: (value > other) - (value < other),
    "times": lambda value, apply: [apply(at) for at in range(value)] and value,
    "upto": lambda value, last, apply: [apply(at) for at in range(value, last + 1)] and value,
    "round": round,
    "ceil": lambda value: -int(-value // 1),
    "floor": lambda value: int(value // 1),
    "abs": abs,
    "zero?": lambda value: value == 0,
    "positive?": lambda value: value > 0,
    "even?": lambda value: value % 2 == 0,
    "odd?": lambda value: value % 2 == 1,
    "to_i": int,
}

ANY: Mapping[str, Callable[..., Value]] = {
    "to_s": text,
    "inspect": inspect,
    "to_i": integer,
    "to_f": number,
    "to_a": lambda value: [] if value is None else [value],
    "nil?": lambda value: value is None,
    "blank?": blank,
    "present?": lambda value: not blank(value),
    "presence": lambda value: None if blank(value) else value,
    "freeze": lambda value: value,
    "dup": lambda value: value.copy() if isinstance(value, list | dict) else value,
    "itself": lambda value: value,
    "then": lambda value, apply: apply(value),
    "tap": lambda value, apply: (apply(value), value)[1],
    "==": lambda value, other: value == other and isinstance(value, bool) == isinstance(other, bool),
    "!": lambda value: not truthy(value),
}


def table(value: Value) -> Mapping[str, Callable[..., Value]]:
    """The methods of a value's own kind."""
    if isinstance(value, str):
        return STRING
    if isinstance(value, list):
        return LIST
    if isinstance(value, dict):
        return HASH
    if isinstance(value, int | float) and not isinstance(value, bool):
        return NUMBER
    return {}
