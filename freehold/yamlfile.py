"""YAML that remembers where each value stood.

Plain YAML 1.1 as PyYAML's safe loader reads it, composed to nodes first so that line and column
survive. Refused, with the place: a duplicate key (unless asked to keep the last), a tab used for
indentation, a second document, a custom tag, and a file whose anchors expand past `MAX_NODES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from freehold.errors import ConfigError
from freehold.source import Location

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 64
LONGEST_NUMBER = 1000
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

Value = None | bool | int | float | str | tuple["Node", ...] | dict[str, "Node"]
Duplicates = Literal["error", "last"]


@dataclass(frozen=True)
class Node:
    """A value with its place. `value` is a scalar, a tuple of nodes or a dict of nodes."""

    value: Value
    where: Location
    key_where: Location | None = None
    raw: str = field(default="", compare=False)
    """A scalar's text as written (`08`, `4001:4001`), before YAML 1.1 made a number of it."""

    @property
    def kind(self) -> str:
        """One of null, bool, int, float, str, list, map."""
        value = self.value
        if value is None:
            return "null"
        if isinstance(value, bool):
            return "bool"
        if isinstance(value, tuple):
            return "list"
        if isinstance(value, dict):
            return "map"
        return type(value).__name__

    def plain(self) -> Any:
        """The value as ordinary Python lists, dicts and scalars."""
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return self.value

    def get(self, key: str) -> Node | None:
        """The node under `key`, or None where this is no map or lacks it."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def at(self, place: Iterable[str | int]) -> Node:
        """The node that keys and indices lead to, or the last one that is there."""
        node = self
        for part in place:
            if isinstance(part, str):
                inner = node.get(part)
            else:
                inner = next(iter(node.elements()[part : part + 1]), None)
            if inner is None:
                break
            node = inner
        return node

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of a map; nothing for any other kind."""
        if isinstance(self.value, dict):
            yield from self.value.items()

    def elements(self) -> tuple[Node, ...]:
        """The elements of a list; nothing for any other kind."""
        return self.value if isinstance(self.value, tuple) else ()


def load(path: Path, *, name: str | None = None, duplicates: Duplicates = "error") -> Node:
    """Read and parse one YAML file; `name` is how errors call it (default: the path)."""
    label = name or str(path)
    return parse(read_text(path, label), label, duplicates=duplicates)


def read_text(path: Path, label: str) -> str:
    """The text of a configuration file: UTF-8, at most `MAX_BYTES`, no binary data."""
    where = Location(label)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise ConfigError("no such file", where=where, hint="`freehold init` writes one") from exc
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", where=where) from exc
    if len(data) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES:,} bytes; this is no configuration file", where=where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(
            "not UTF-8 text", where=Location(label, line), hint="save the file as UTF-8"
        ) from exc


def parse(text: str, name: str, *, duplicates: Duplicates = "error") -> Node:
    """Parse YAML text; an empty document is a null node."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError("binary data, not YAML", where=Location(name, line))
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as exc:
        before = text[: exc.position].split("\n")
        raise ConfigError(
            f"not valid YAML: the character U+{ord(text[exc.position]):04X} may not stand in it",
            where=Location(name, len(before), len(before[-1]) + 1),
            hint='remove it, or write it in double quotes as "\\x1b" or "\\u001b"',
        ) from exc
    try:
        root = loader.get_single_node()
        if root is None:
            return Node(None, Location(name, 1, 1))
        return _Converter(loader, name, duplicates).convert(root, "", 0)
    except yaml.YAMLError as exc:
        raise _syntax_error(exc, name) from exc
    except RecursionError as exc:
        # Where the reading has come to.
        where = Location(name, loader.get_mark().line + 1)
        raise ConfigError(f"nested deeper than {MAX_DEPTH} levels", where=where) from exc
    finally:
        loader.dispose()


def _syntax_error(exc: yaml.YAMLError, name: str) -> ConfigError:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    where = Location(name, mark.line + 1, mark.column + 1) if mark else Location(name)
    problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it does not parse"
    hint = ""
    if "\\t" in problem:
        hint = "YAML is indented with spaces; replace the tab"
    elif "mapping values are not allowed" in problem:
        hint = "quote the value if it holds a colon, or check the indentation of this line"
    elif "expected a single document" in str(exc):
        problem, hint = "a second document begins here", "keep one document per file"
    elif "expected <block end>" in problem:
        hint = "check the indentation of this line against the lines above"
    elif "alias" in problem:
        hint = "define the anchor (&name) above its first use"
    return ConfigError(f"not valid YAML: {problem}", where=where, hint=hint)


class _Converter:
    def __init__(self, loader: yaml.SafeLoader, name: str, duplicates: Duplicates) -> None:
        self.loader = loader
        self.name = name
        self.duplicates = duplicates
        self.count = 0

    def place(self, node: yaml.Node, key: str) -> Location:
        return Location(self.name, node.start_mark.line + 1, node.start_mark.column + 1, key)

    def convert(self, node: yaml.Node, key: str, depth: int, key_where: Location | None = None) -> Node:
        where = self.place(node, key)
        self.count += 1
        if self.count > MAX_NODES:
            raise ConfigError(f"anchors expand to more than {MAX_NODES:,} values", where=where)
        if depth > MAX_DEPTH:
            raise ConfigError(f"nested deeper than {MAX_DEPTH} levels", where=where)
        if isinstance(node, yaml.MappingNode):
            return Node(self.mapping(node, where, depth), where, key_where)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != "tag:yaml.org,2002:seq":
                raise ConfigError(f"the tag {node.tag} is not allowed", where=where)
            parts = tuple(
                self.convert(item, f"{key}[{index}]", depth + 1) for index, item in enumerate(node.value)
            )
            return Node(parts, where, key_where)
        return Node(self.scalar(node, where), where, key_where, raw=str(node.value))

    def scalar(self, node: yaml.Node, where: Location) -> bool | int | float | str | None:
        if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
            # Python refuses to write such a number down again, even in a message.
            raise ConfigError(
                f"a number of more than {LONGEST_NUMBER} characters",
                where=where,
                hint="quote it where it is a text",
            )
        try:
            value = self.loader.construct_object(node, deep=True)
        except (ValueError, OverflowError) as exc:
            raise ConfigError(f"{node.value!r} is not a valid value: {exc}", where=where) from exc
        except yaml.YAMLError as exc:
            if "could not determine a constructor" in str(exc):
                raise ConfigError(
                    f"the tag {node.tag} is not allowed", where=where, hint="remove it or quote the value"
                ) from exc
            raise
        if value is None or isinstance(value, bool | int | float | str):
            return value
        # Dates, timestamps and binary have no use in these files; the text is what was meant.
        return str(node.value)

    def mapping(self, node: yaml.MappingNode, where: Location, depth: int) -> dict[str, Node]:
        if node.tag != "tag:yaml.org,2002:map":
            raise ConfigError(f"the tag {node.tag} is not allowed", where=where)
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self.merge_sources(value_node):
                    for name, entry in self.convert(source, where.key, depth + 1).items():
                        merged.setdefault(name, entry)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError("a key must be a plain word", where=self.place(key_node, where.key))
            name = str(key_node.value)
            path = where.under(name).key
            key_where = self.place(key_node, path)
            if name in own and self.duplicates == "error":
                first = own[name].key_where
                raise ConfigError(
                    f"the key {name!r} stands twice (first on line {first.line if first else '?'})",
                    where=key_where,
                    hint="keep one of them",
                )
            own[name] = self.convert(value_node, path, depth + 1, key_where)
        return {**merged, **own}

    def merge_sources(self, node: yaml.Node) -> list[yaml.MappingNode]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise ConfigError("<< merges maps only", where=self.place(source, "<<"))
        return list(sources)


def dump(value: Any) -> str:
    """Plain Python values as block YAML in the order given, for files that people read."""
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=False, allow_unicode=True, width=100)
