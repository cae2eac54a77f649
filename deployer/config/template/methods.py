"""Methods of strings and numbers that ERB tags use, and which methods a value has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from deployer.config.template.collections import HASH, LIST
from deployer.config.template.values import (
    MAX_TEXT,
    Span,
    Value,
    blank,
    inspect,
    integer,
    last,
    number,
    part,
    pattern,
    text,
    to_json,
    truthy,
)


def _replace(value: str, old: Value, new: Value, count: int = 0) -> str:
    """`sub` and `gsub`: the replacement is a text, a map or a block."""

    def replacement(match: re.Match[str]) -> str:
        if callable(new):
            return text(new(match[0]))
        if isinstance(new, dict):
            return text(new.get(match[0]))
        # Of a text \\1 and \\k<name> are groups.
        return re.sub(r"\\(?:(\d)|k<(\w+)>|(\\))", lambda found: _group(match, found), text(new))

    return pattern(old).sub(replacement, value, count=count)


def _group(match: re.Match[str], found: re.Match[str]) -> str:
    if found[3]:
        return "\\"
    if found[2]:
        return match[found[2]] or ""
    number = int(found[1])
    return (match[number] or "") if number <= match.re.groups else ""


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
    if isinstance(first, Span):
        return first.of(value)
    if isinstance(first, re.Pattern):
        match = first.search(value)
        return None if match is None else match[length or 0]
    if isinstance(first, str):
        return first if first in value else None
    if length is None:
        return value[first] if -len(value) <= first < len(value) else None
    return part(value, first, length)


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
    "delete": lambda value, *sets: "".join(char for char in value if not _in_all(char, sets)),
    "gsub": _replace,
    "sub": lambda value, old, new: _replace(value, old, new, 1),
    "tr": lambda value, old, new: "".join(_translated(char, old, new) for char in value),
    "match?": lambda value, old: pattern(old).search(value) is not None,
    "=~": lambda value, old: None if (found := pattern(old).search(value)) is None else found.start(),
    "index": lambda value, part: None if (at := value.find(part)) < 0 else at,
    "ljust": lambda value, width, fill=" ": value.ljust(min(width, 10_000), fill),
    "rjust": lambda value, width, fill=" ": value.rjust(min(width, 10_000), fill),
    "[]": _index,
    "slice": _index,
    "first": lambda value, count=1: value[:count],
    "last": last,
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


def _characters(spec: str) -> tuple[bool, str]:
    """A set as `tr` and `delete` write it: `a-z`, `^a-z` for all others, a backslash before `-` and `^`."""
    others = len(spec) > 1 and spec.startswith("^")

    def expand(match: re.Match[str]) -> str:
        first, last = match[1].removeprefix("\\"), match[2]
        if last is None:
            return first or "\\"
        last = last.removeprefix("\\")
        if first > last:
            raise ValueError(f"{match[0]!r} is no range")
        return "".join(map(chr, range(ord(first), ord(last) + 1)))

    one = r"\\[-^\\]|[\s\S]"
    return others, re.sub(rf"({one})(?:-({one}))?", expand, spec[1:] if others else spec)


def _in_all(char: str, sets: tuple[str, ...]) -> bool:
    return bool(sets) and all((char in chars) != others for others, chars in map(_characters, sets))


def _translated(char: str, old: str, new: str) -> str:
    others, chars = _characters(old)
    target = _characters(f"\\{new}" if new.startswith("^") else new)[1]
    at = chars.find(char)
    if (at >= 0) == others:
        return char
    return target[-1:] if others else target[min(at, len(target) - 1)] if target else ""


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
    "to_json": to_json,
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
