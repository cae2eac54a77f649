"""Short ways of writing values that Kamal's users rely on."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping

from freehold.settings import describe, fail
from freehold.yamlfile import Node

SECONDS = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)?$"}]
}
CLEAR = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(node: Node) -> float:
    """A duration: `5`, `0.5`, `5s`, `500ms`, `2m`."""
    match = (
        re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", node.raw)
        if node.kind in ("int", "float", "str")
        else None
    )
    if match is None:
        fail(node, f"expected a duration in seconds, found {describe(node)}", hint="for example 5, 0.5 or 2m")
    return float(match[1]) * _UNITS[match[2] or ""]


def scalar_text(node: Node) -> str:
    """A scalar as the text a variable or a label gets: `true`, `1.10`, the empty text for nothing."""
    if node.kind in ("map", "list"):
        fail(node, f"expected one value, found {describe(node)}")
    if node.kind == "bool":
        return "true" if node.value else "false"
    return "" if node.kind == "null" else (str(node.value) if node.kind == "str" else node.raw)


def clear_env(node: Node) -> Mapping[str, str]:
    """A map of scalars as text; a list of such maps, which some people write, is merged."""
    if node.kind == "null":
        return {}
    if node.kind == "list":
        merged: dict[str, str] = {}
        for element in node.elements():
            merged.update(clear_env(element))
        return types.MappingProxyType(merged)
    if node.kind != "map":
        fail(node, f"expected a map, found {describe(node)}", hint="write one 'NAME: value' a line")
    return types.MappingProxyType({name: scalar_text(entry) for name, entry in node.items()})


def optional_text(node: Node) -> str | None:
    """Text, or a list of one text as Kamal writes a secret's name."""
    if node.kind == "null":
        return None
    if node.kind == "list":
        return secret_name(node)
    return scalar_text(node)


def secret_name(node: Node) -> str | None:
    """The name of one secret: `- NAME`, or the bare name."""
    if node.kind == "null":
        return None
    elements = node.elements()
    if node.kind == "list" and len(elements) == 1:
        return scalar_text(elements[0])
    if node.kind == "str":
        fail(
            node,
            "a password may not stand in the file",
            hint="write `password: [NAME]` and put NAME into the secrets file",
        )
    fail(node, f"expected a list with the name of one secret, found {describe(node)}")
