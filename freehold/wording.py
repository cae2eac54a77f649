"""How nodes and types are called in messages."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union

from freehold.yamlfile import Node


def describe(node: Node) -> str:
    """What a node is, for an error message: `the text 'abc'`, `a list`, `nothing`."""
    kind = node.kind
    if kind == "null":
        return "nothing"
    if kind in ("list", "map"):
        return f"a {kind}"
    text = node.raw if kind != "str" else str(node.value)
    shown = text if len(text) <= 40 else text[:37] + "..."
    return f"the text {shown!r}" if kind == "str" else f"{kind} {shown}"


def type_name(wanted: Any) -> str:
    """A type as a person would say it."""
    origin = typing.get_origin(wanted)
    if origin in (Union, types.UnionType):
        parts = [type_name(option) for option in typing.get_args(wanted) if option is not type(None)]
        return " or ".join(parts)
    if origin is Literal:
        return " | ".join(str(choice) for choice in typing.get_args(wanted))
    if origin is tuple:
        return f"list of {type_name(typing.get_args(wanted)[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"map of {type_name(typing.get_args(wanted)[1])}"
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return " | ".join(str(member.value) for member in wanted)
    names = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        Path: "a path",
        Any: "any value",
        Node: "any value",
    }
    if wanted in names:
        return names[wanted]
    return "map" if dataclasses.is_dataclass(wanted) else str(getattr(wanted, "__name__", wanted))


def listing(names: Iterable[str]) -> str:
    """The first of some names, for a hint."""
    words = list(names)
    return ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
