"""Whole trees of YAML nodes: merging a destination over the base, dropping empty keys, moving positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from freehold.errors import ConfigError
from freehold.source import Location
from freehold.yamlfile import Node

Path = tuple[str, ...]


def merge(base: Node, over: Node) -> Node:
    """`over` on `base`: maps are merged key by key, anything else replaces, as Kamal's deep merge does.

    Every value keeps the place where it was written.
    """
    if base.kind != "map" or over.kind != "map":
        return over
    entries = dict(base.items())
    for name, entry in over.items():
        entries[name] = merge(entries[name], entry) if name in entries else entry
    return replace(base, value=entries)


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node below `node` with its path of keys; elements of lists have their number."""
    for name, entry in node.items():
        yield (*path, name), entry
        yield from walk(entry, (*path, name))
    for index, entry in enumerate(node.elements()):
        yield (*path, str(index)), entry
        yield from walk(entry, (*path, str(index)))


def at(node: Node, *path: str) -> Node:
    """The node at a path, or the nearest above it."""
    for name in path:
        node = node.get(name) or node
    return node


def relocate(node: Node, move: Callable[[Location], Location]) -> Node:
    """The same tree with every position passed through `move`."""
    value = node.value
    if isinstance(value, dict):
        value = {name: relocate(entry, move) for name, entry in value.items()}
    elif isinstance(value, tuple):
        value = tuple(relocate(entry, move) for entry in value)
    key_where = move(node.key_where) if node.key_where else None
    return replace(node, value=value, where=move(node.where), key_where=key_where)


def without_empty(node: Node, unset: Callable[[Location], tuple[str, ...]], path: Path = ()) -> Node:
    """The tree without keys that hold nothing, which is what is left when people comment out all below.

    Kept are the places where nothing means something: a role, a variable, a host's tags. `unset`
    names the environment variables that were missing on a line: a key that is empty because of one
    is an error.
    """
    if node.kind == "list":
        parts = []
        for index, entry in enumerate(node.elements()):
            if entry.kind == "null":
                _refuse_unset(entry, "this element", unset)
            parts.append(without_empty(entry, unset, (*path, str(index))))
        return replace(node, value=tuple(parts))
    if node.kind != "map":
        return node
    entries: dict[str, Node] = {}
    for name, entry in node.items():
        below = (*path, name)
        if entry.kind == "null" and not _meaningful(below):
            _refuse_unset(entry, f"{name!r}", unset)
            continue
        entries[name] = without_empty(entry, unset, below)
    return replace(node, value=entries)


def _refuse_unset(node: Node, what: str, unset: Callable[[Location], tuple[str, ...]]) -> None:
    names = unset(node.where)
    if names:
        many = len(names) > 1
        raise ConfigError(
            f"{what} is empty: the environment variable{'s' if many else ''} {', '.join(names)} "
            f"{'are' if many else 'is'} not set",
            where=node.where,
            hint=f"set {names[0]}, or give it a default: ENV.fetch('{names[0]}', '…')",
        )


def _meaningful(path: Path) -> bool:
    """Whether a key at `path` may hold nothing: roles, environment variables, labels, hosts with tags."""
    if path[0].startswith("x-") or (path[0] == "servers" and len(path) == 2):
        return True
    parent = path[:-1]
    if not parent:
        return False
    if parent[-1] in ("clear", "labels", "args", "hosts", "options"):
        return True
    if "env" in parent and path[-1] not in ("clear", "secret", "tags"):
        return True
    return path[0] == "servers" and len(path) == 3 and path[1].isdigit()
