"""Short ways of writing values that Kamal's users rely on."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.settings import convert, fail
from freehold.shellwords import split_words
from freehold.wording import describe
from freehold.yamlfile import Node

OptionValue = str | bool | tuple[str, ...]
"""A `docker run` option: text, `true` for a bare flag (`false` for none), or values of a repeated flag."""

_AT_HOME = re.compile(r"^(~|\$HOME|\$PWD|\$\{PWD\}|\$\(pwd\))(?=[/:])")

SECONDS: Mapping[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)?$"}]
}
SIZE: Mapping[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\d+(\.\d+)?[kKmMgG]?[bB]?$"},
    ]
}
SCALAR: Mapping[str, Any] = {"type": ["string", "number", "boolean", "null"]}
SCALARS: Mapping[str, Any] = {"type": "object", "additionalProperties": SCALAR}
CLEAR: Mapping[str, Any] = {
    "anyOf": [
        SCALARS,
        {"type": "array", "items": {"anyOf": [SCALARS, {"type": "string"}]}},
        {"type": "null"},
    ]
}
COMMAND: Mapping[str, Any] = {"type": ["string", "number", "null"]}
VOLUMES: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}
TEXTS: Mapping[str, Any] = {
    "anyOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]
}
OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": {"anyOf": [SCALAR, {"type": "array", "items": SCALAR}]},
}
PORT: Mapping[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": r"^\d{1,5}$"},
    ]
}
_DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True)
class Deferred(Mapping[str, Any]):
    """A JSON schema that is built when it is looked at, for schemas that contain other declarations."""

    build: Callable[[], Mapping[str, Any]]

    def __getitem__(self, key: str) -> Any:
        return self.build()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.build())

    def __len__(self) -> int:
        return len(self.build())


def seconds(node: Node) -> float:
    """A duration in seconds: `5`, `0.5`, `5s`, `500ms`, `2m`."""
    text = node.raw.replace("_", "") if node.kind in ("int", "float", "str") else ""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if match is None:
        fail(node, f"expected a duration in seconds, found {describe(node)}", hint="for example 5, 0.5 or 2m")
    return float(match[1]) * _DURATIONS[match[2] or ""]


def size(node: Node) -> int:
    """A size in bytes: `10_000_000`, `10m`, `1g` (powers of 1024, as Docker counts)."""
    if node.kind == "int" and isinstance(node.value, int) and node.value >= 0:
        return node.value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)b?", node.raw.lower()) if node.kind == "str" else None
    if match is None:
        fail(
            node, f"expected a size in bytes, found {describe(node)}", hint="for example 10000000, 10m or 1g"
        )
    return int(float(match[1]) * _SIZES[match[2]])


def port(node: Node) -> int:
    """A port number; Kamal's own example writes it in quotes."""
    text = node.raw if node.kind in ("int", "str") else ""
    if not re.fullmatch(r"\d{1,5}", text) or not 1 <= int(text) <= 65535:
        fail(node, f"expected a port from 1 to 65535, found {describe(node)}")
    return int(text)


def scalar_text(node: Node) -> str:
    """A scalar as the text an environment variable or a label gets.

    `true` and `false` for every way YAML writes them, `1.10` and `4001:4001` as written,
    `10_000_000` without its underscores, the empty text for nothing: no container gets such a variable.
    """
    if node.kind in ("map", "list"):
        fail(node, f"expected one value, found {describe(node)}")
    if node.kind == "bool":
        return "true" if node.value else "false"
    if node.kind == "null":
        return ""
    if node.kind == "int" and "_" in node.raw:
        return str(node.value)
    return str(node.value) if node.kind == "str" else node.raw


def text(node: Node) -> str:
    """Text that must be there."""
    found = scalar_text(node)
    if not found.strip():
        fail(node, f"expected text, found {describe(node)}")
    return found


def command(node: Node) -> str | None:
    """A command line that becomes words as a shell's does; nothing for nothing."""
    found = None if node.kind == "null" else str(convert(str, node))
    try:
        split_words(found or "")
    except ValueError as exc:
        fail(node, f"{found!r} is no command line: {exc}", hint="quotes come in pairs")
    return found


def texts(node: Node) -> tuple[str, ...]:
    """One text or a list of texts."""
    if node.kind == "list":
        return tuple(text(element) for element in node.elements())
    return (text(node),)


def volumes(node: Node) -> tuple[str, ...]:
    """Volumes, where a path below the home of whoever logs in stands in one of the shell's ways.

    Kamal leaves them to a shell on the host, which begins in that home.
    """
    found: tuple[str, ...] = convert(tuple[str, ...], node)
    return tuple(_AT_HOME.sub("${HOME}", volume) for volume in found)


def clear_env(node: Node) -> Mapping[str, str]:
    """A map of scalars as text; a list of such maps or of `NAME=value`, which some write, is joined."""
    if node.kind == "null":
        return types.MappingProxyType({})
    if node.kind == "list":
        merged: dict[str, str] = {}
        for element in node.elements():
            name, equals, value = str(element.value).partition("=")
            merged.update({name: value} if element.kind == "str" and equals else clear_env(element))
        return types.MappingProxyType(merged)
    if node.kind != "map":
        fail(node, f"expected a map, found {describe(node)}", hint="write one 'NAME: value' a line")
    return types.MappingProxyType({name: scalar_text(entry) for name, entry in node.items()})


def options(node: Node) -> Mapping[str, OptionValue]:
    """Options of `docker run` by their long names: `memory: 2g`, `publish: ["80:80"]`, `init: true`."""
    if node.kind == "null":
        return types.MappingProxyType({})
    if node.kind != "map":
        fail(node, f"expected a map of docker run options, found {describe(node)}")
    found: dict[str, OptionValue] = {}
    for name, entry in node.items():
        if name == "label":
            for one in entry.elements() if entry.kind == "list" else (entry,):
                _check_label(one, str(one.value).partition("=")[0])
        if name == "name":
            fail(
                entry.key_where or entry,
                "the name of a container is given by Freehold itself",
                hint="that of an accessory can be chosen by its 'service'",
            )
        if entry.kind == "list":
            found[name] = tuple(text(element) for element in entry.elements())
        elif entry.kind == "map":
            fail(
                entry,
                f"{name!r} is no option of docker run that takes a map",
                hint="'env' and 'labels' stand beside 'options', not inside it"
                if name in ("env", "label", "labels")
                else "write a value or a list of values",
            )
        elif name == "restart":
            found[name] = _restart(entry)
        else:
            found[name] = entry.value if isinstance(entry.value, bool) else scalar_text(entry)
    return types.MappingProxyType(found)


def _restart(node: Node) -> str:
    policy = scalar_text(node)
    if node.kind == "bool":
        fail(node, "a restart policy is text", hint='write restart: "no" to disable restarts')
    if not re.fullmatch(r"no|always|unless-stopped|on-failure(:\d+)?", policy):
        fail(node, f"{policy!r} is no restart policy", hint="no, always, unless-stopped or on-failure:N")
    return policy


def labels(node: Node) -> Mapping[str, str]:
    """Labels of a container; `service`, `role`, `destination` and `freehold.…` are ours."""
    found = clear_env(node)
    for name in found:
        _check_label(node.get(name) or node, name)
    return found


def _check_label(node: Node, name: str) -> None:
    """Fail for a label by which containers are found again: Docker takes the last of a name."""
    if name in ("service", "role", "destination") or name.startswith("freehold."):
        fail(node, f"the label {name!r} is set by Freehold itself", hint="choose another name")


def symbol(node: Node) -> str:
    """Text that Ruby's users may write as a symbol: `:verbose`."""
    return text(node).removeprefix(":")


def option_arguments(options: Mapping[str, OptionValue]) -> tuple[str, ...]:
    """Options as arguments of `docker run`; `restart` is left out, as it has a default of its own."""
    words: list[str] = []
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            if name == "restart" or one is False:
                continue
            words += [f"--{name}"] if one is True else [f"--{name}", str(one)]
    return tuple(words)
