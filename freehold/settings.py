"""A setting is declared once: key, type, default, help, limits.

From the same frozen dataclass come validation (`read`), the JSON schema for editors
(`json_schema`) and the reference page (`reference`).

    @dataclass(frozen=True)
    class Ssh:
        '''How to reach the hosts.'''
        user: str = setting("root", help="Who to log in as.")
        port: int = setting(22, minimum=1, maximum=65535, help="TCP port of sshd.")

    read(Ssh, yamlfile.load(path))     # Ssh(user="root", port=22) or ConfigError with line and key

Types come from the annotations: str, int, float, bool, Path, Literal, Enum, `X | None`,
`tuple[X, ...]`, `Mapping[str, X]`, a nested dataclass, or a union of those. Where a key has a
shorthand, `parse=` takes the node and returns the value.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import re
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union

from freehold.errors import ConfigError
from freehold.source import Location
from freehold.wording import describe, listing, type_name
from freehold.yamlfile import Node

T = TypeVar("T")
_META = "freehold.setting"


@dataclass(frozen=True)
class Meta:
    """What `setting()` stores beside a dataclass field."""

    help: str
    key: str | None = None
    parse: Callable[[Node], Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    example: Any = None
    schema: Mapping[str, Any] | None = None
    hidden: bool = False
    form: str = ""
    shown: str = ""


Place = tuple[str | int, ...]


class Wrong(ValueError):
    """What a dataclass's `__post_init__` refuses, with the keys and indices below it that lead there."""

    def __init__(self, message: str, place: Place = ()) -> None:
        super().__init__(message)
        self.place = place


def setting(
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002 - the word the field uses
    factory: Callable[[], Any] | None = None,
    key: str | None = None,
    parse: Callable[[Node], Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    example: Any = None,
    schema: Mapping[str, Any] | None = None,
    hidden: bool = False,
    form: str = "",
    shown: str = "",
) -> Any:
    """Declare a key of a configuration file as a dataclass field.

    `key` is its name in the file where that is no Python name; `parse` replaces reading by type;
    `schema` replaces the JSON schema by type; `hidden` leaves it out of schema and reference.
    `form` and `shown` are type and default in the words of the reference, where `parse` takes another
    form than the type says.
    Without `default` and `factory` the key is required.
    """
    meta = Meta(help, key, parse, minimum, maximum, pattern, example, schema, hidden, form, shown)
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={_META: meta})
    return dataclasses.field(default=default, metadata={_META: meta})


@dataclass(frozen=True)
class Key:
    """One declared key of a dataclass, with its annotation resolved."""

    name: str
    field: str
    type: Any
    meta: Meta
    required: bool
    default: Any


def keys_of(cls: type[Any]) -> Mapping[str, Key]:
    """The declared keys of `cls` by their name in the file."""
    # typeshed gives a class no hash; every class has one.
    return _keys_of(typing.cast(Hashable, cls))


@functools.cache
def _keys_of(cls: Hashable) -> Mapping[str, Key]:
    hints = typing.get_type_hints(typing.cast(Any, cls))
    found: dict[str, Key] = {}
    for item in dataclasses.fields(typing.cast(Any, cls)):
        meta = item.metadata.get(_META)
        if meta is None:
            continue
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        name = meta.key or item.name
        required = default is MISSING
        found[name] = Key(name, item.name, hints[item.name], meta, required, default)
    return found


def near(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was probably meant to be."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.7)
    return matches[0] if matches else None


def fail(at: Node | Location, message: str, hint: str = "") -> NoReturn:
    """Raise a ConfigError at a node or place."""
    raise ConfigError(message, where=at.where if isinstance(at, Node) else at, hint=hint)


def read(cls: type[T], node: Node, *, extensions: bool = False) -> T:
    """Read a map into the frozen dataclass `cls`; raise ConfigError at the first thing that is wrong.

    `extensions` lets keys that begin with `x-` pass unread. A `ValueError` from the dataclass's own
    `__post_init__` becomes a ConfigError at the map, a `Wrong` one at the place that it names.
    """
    declared = keys_of(cls)
    if node.kind == "null":
        node = Node({}, node.where, node.key_where)
    if node.kind != "map":
        fail(node, f"expected a map of {listing(declared)}, found {describe(node)}")
    values: dict[str, Any] = {}
    for name, entry in node.items():
        key = declared.get(name)
        if key is None:
            if extensions and name.startswith("x-"):
                continue
            unknown_key(name, entry, declared)
        values[key.field] = read_key(key, entry)
    for key in declared.values():
        if key.required and key.field not in values:
            fail(node, f"the key {key.name!r} is missing", hint=key.meta.help)
    try:
        return cls(**values)
    except Wrong as exc:
        fail(node.at(exc.place), str(exc))
    except ValueError as exc:
        fail(node, str(exc))


def unknown_key(name: str, entry: Node, declared: Iterable[str]) -> NoReturn:
    """Raise the ConfigError for a key that nobody declared, with the near miss where there is one."""
    names = list(declared)
    guess = near(name, names)
    hint = f"did you mean {guess!r}?" if guess else f"known here: {listing(names)}"
    fail(entry.key_where or entry.where, f"unknown key {name!r}", hint=hint)


def read_key(key: Key, node: Node) -> Any:
    """Read the value of one declared key."""
    meta = key.meta
    if meta.parse is not None:
        return meta.parse(node)
    value = convert(key.type, node)
    _check_limits(meta, value, node)
    return value


def _check_limits(meta: Meta, value: Any, node: Node) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if meta.minimum is not None and value < meta.minimum:
            fail(node, f"{value} is too small; the least is {meta.minimum:g}")
        if meta.maximum is not None and value > meta.maximum:
            fail(node, f"{value} is too large; the most is {meta.maximum:g}")
    if meta.pattern is not None:
        for text in [value] if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if isinstance(text, str) and not re.fullmatch(meta.pattern, text):
                example = f"; for example {meta.example!r}" if meta.example is not None else ""
                fail(node, f"{text!r} does not have the right form ({meta.pattern}){example}")


def convert(wanted: Any, node: Node) -> Any:
    """Read `node` as the annotation `wanted`."""
    origin = typing.get_origin(wanted)
    if wanted is Any:
        return node.plain()
    if wanted is Node:
        return node
    if origin in (Union, types.UnionType):
        return _convert_union(typing.get_args(wanted), node)
    if origin is Literal:
        return _convert_choice(list(typing.get_args(wanted)), node)
    if origin is tuple:
        inner = typing.get_args(wanted)[0]
        if node.kind != "list":
            fail(node, f"expected a list, found {describe(node)}", hint="write one '- item' a line")
        return tuple(convert(inner, item) for item in node.elements())
    if origin is not None and issubclass(origin, Mapping):
        inner = typing.get_args(wanted)[1]
        if node.kind != "map":
            fail(node, f"expected a map, found {describe(node)}", hint="write one 'key: value' a line")
        return types.MappingProxyType({name: convert(inner, item) for name, item in node.items()})
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return read(wanted, node)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return wanted(_convert_choice([member.value for member in wanted], node))
    return _convert_scalar(wanted, node)


def _convert_union(options: tuple[Any, ...], node: Node) -> Any:
    if type(None) in options and node.kind == "null":
        return None
    rest = [option for option in options if option is not type(None)]
    if len(rest) == 1:
        return convert(rest[0], node)
    for option in rest:
        if _fits(option, node):
            return convert(option, node)
    fail(node, f"expected {' or '.join(type_name(option) for option in rest)}, found {describe(node)}")


def _fits(option: Any, node: Node) -> bool:
    origin = typing.get_origin(option)
    if origin is tuple:
        return node.kind == "list"
    if origin is Literal:
        return node.value in typing.get_args(option)
    if (origin is not None and issubclass(origin, Mapping)) or dataclasses.is_dataclass(option):
        return node.kind == "map"
    kinds: dict[Any, tuple[str, ...]] = {
        bool: ("bool",),
        int: ("int",),
        float: ("int", "float"),
        str: ("str", "int", "float"),
        Path: ("str",),
    }
    return node.kind in kinds.get(option, ())


def _convert_choice(choices: list[Any], node: Node) -> Any:
    if node.value in choices and type(node.value) in {type(choice) for choice in choices}:
        return node.value
    guess = near(str(node.value), [str(choice) for choice in choices])
    allowed = ", ".join(
        str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices
    )
    hint = f"did you mean {guess!r}?" if guess else ""
    fail(node, f"expected one of {allowed}; found {describe(node)}", hint=hint)


def _convert_scalar(wanted: Any, node: Node) -> Any:
    kind, value = node.kind, node.value
    if wanted is bool and kind == "bool":
        return value
    if wanted is int and kind == "int":
        return value
    if wanted is float and kind in ("int", "float"):
        return float(typing.cast(float, value))
    if wanted is str:
        if kind == "str":
            return value
        # `version: 1.10` and `tag: 08` mean their text, not the number YAML made of it.
        if kind in ("int", "float"):
            return node.raw or str(value)
        if kind == "bool":
            fail(node, f"expected text, found {describe(node)}", hint=f'quote it: "{node.raw}"')
    if wanted is Path and kind == "str":
        return Path(str(value))
    hint = ""
    if kind == "str" and wanted in (int, float, bool):
        hint = "write it without quotes" if re.fullmatch(r"-?[\d.]+|true|false", str(value)) else ""
    fail(node, f"expected {type_name(wanted)}, found {describe(node)}", hint=hint)
