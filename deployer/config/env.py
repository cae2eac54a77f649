"""Environment of containers: clear values, names of secrets, and variables by tag of a host."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deployer.config import shorthand
from freehold.settings import fail, read, setting, unknown_key
from freehold.wording import describe
from freehold.yamlfile import Node

E = TypeVar("E", bound="Env")

SECRET_PATTERN = r"[^:\s]+(:[^:\s]+)?"


@dataclass(frozen=True)
class Env:
    """Environment of a container: clear values, and names of secrets (`NAME` or `NAME:SECRET`)."""

    clear: Mapping[str, str] = setting(
        factory=dict,
        parse=shorthand.clear_env,
        help="Values that may be read by everybody; `${NAME}` is the host's.",
        schema=shorthand.CLEAR,
    )
    secret: tuple[str, ...] = setting(
        (),
        help="Names looked up in the secrets file; `NAME:SECRET` renames.",
        pattern=SECRET_PATTERN,
        example="DATABASE_PASSWORD",
    )

    def merged(self, other: Env) -> Env:
        """This environment with `other` on top: what `other` sets wins, be it clear or secret."""
        taken = {name.partition(":")[0] for name in other.secret} | set(other.clear)
        clear = {name: value for name, value in self.clear.items() if name not in taken}
        kept = tuple(name for name in self.secret if name.partition(":")[0] not in taken)
        return Env({**clear, **other.clear}, kept + other.secret)

    def secret_sources(self) -> Mapping[str, str]:
        """The name in the container by the name in the secrets file: `A:B` is `{"A": "B"}`."""
        pairs = (entry.partition(":") for entry in self.secret)
        return types.MappingProxyType({name: source or name for name, _, source in pairs})


@dataclass(frozen=True)
class RootEnv(Env):
    """The environment of all roles, with variables for hosts that carry a tag."""

    tags: Mapping[str, Env] = setting(
        factory=dict,
        parse=lambda node: _tags(node),  # defined below
        help="Variables for the hosts that carry a tag.",
        schema=shorthand.Deferred(
            lambda: {"type": "object", "additionalProperties": env_schema(Env)},
        ),
    )


_SPECIAL = ("clear", "secret", "tags")


def env(node: Node) -> Env:
    """An environment of a role or an accessory."""
    return _read(Env, node, allowed=("clear", "secret"))


def root_env(node: Node) -> RootEnv:
    """The environment at the top of the file, which may hold tags."""
    return _read(RootEnv, node, allowed=_SPECIAL)


def _read(cls: type[E], node: Node, allowed: tuple[str, ...]) -> E:
    if node.kind == "null":
        return cls()
    if node.kind != "map":
        fail(node, f"expected a map of variables, found {describe(node)}", hint="write 'NAME: value' lines")
    if not any(name in _SPECIAL for name, _ in node.items()):
        return cls(clear=shorthand.clear_env(node))
    for name, entry in node.items():
        if name == "tags" and name not in allowed:
            fail(entry.key_where or entry, "tags are allowed in the top-level 'env' only")
        if name in ("files", "directories", "volumes", "labels", "options", "cmd", "port", "image"):
            fail(
                entry.key_where or entry,
                f"unknown key {name!r}",
                hint=f"{name!r} stands one level up, beside 'env'; take two spaces of indentation off",
            )
        if name not in allowed and entry.kind not in ("map", "list"):
            fail(
                entry.key_where or entry,
                f"the variable {name!r} stands beside 'clear' and 'secret'",
                hint="move it under 'clear'",
            )
        if name not in allowed:
            unknown_key(name, entry, allowed)
    return read(cls, node)


def _tags(node: Node) -> Mapping[str, Env]:
    if node.kind != "map":
        fail(node, f"expected a map of tags, found {describe(node)}")
    return types.MappingProxyType({name: env(entry) for name, entry in node.items()})


def env_schema(cls: type[Env]) -> Mapping[str, Any]:
    """The JSON schema of an environment: flat, or with `clear` and `secret`."""
    from freehold.reference import type_schema

    flat = {**shorthand.SCALARS, "not": {"anyOf": [{"required": [name]} for name in _SPECIAL]}}
    return {"anyOf": [type_schema(cls), flat, {"type": "null"}]}
