"""Hosts and roles as they are written: the `servers` and `boot` sections."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config import shorthand
from deployer.config.env import Env, env, env_schema
from deployer.config.logs import Logging
from deployer.config.proxy import proxy_schema
from freehold.settings import fail, read, setting
from freehold.wording import describe, type_name
from freehold.yamlfile import Node

TaggedHosts = Mapping[str, tuple[str, ...]]
"""Tags by host, in the order of the file."""

HOSTS_SCHEMA: Mapping[str, object] = {
    "anyOf": [
        {"type": ["string", "null"]},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "object", "maxProperties": 1, "additionalProperties": shorthand.TEXTS},
                ]
            },
        },
    ]
}


@dataclass(frozen=True)
class Boot:
    """How many hosts are started at once."""

    limit: int | str | None = setting(
        None,
        help="Hosts at a time: a number or a percentage.",
        pattern=r"[1-9]\d*%?",
        example="25%",
        minimum=1,
    )
    wait: float = setting(
        0.0, parse=shorthand.seconds, help="Seconds between groups.", schema=shorthand.SECONDS
    )
    parallel_roles: bool = setting(False, help="Start the roles of one host at the same time.")

    def group_size(self, hosts: int) -> int:
        """How many of `hosts` start at a time."""
        if self.limit is None:
            return max(hosts, 1)
        limit = str(self.limit)
        return max(hosts * int(limit[:-1]) // 100, 1) if limit.endswith("%") else int(limit)


@dataclass(frozen=True)
class RoleSettings:
    """One role: its hosts, and what differs from the rest of the file."""

    hosts: TaggedHosts = setting(
        factory=dict,
        parse=lambda node: tagged_hosts(node),
        form="text, list of text or map",
        schema=HOSTS_SCHEMA,
        help="Hosts; `host: tag` or `host: [tag, tag]` gives one tags.",
    )
    cmd: str | None = setting(
        None,
        parse=shorthand.command,
        schema=shorthand.COMMAND,
        help="Command instead of the image's own.",
        example="bin/jobs",
    )
    proxy: Node | None = setting(
        None,
        schema=shorthand.Deferred(proxy_schema),
        help="`true` or a map of `proxy` keys to differ from the root's; `false` takes requests away.",
    )
    env: Env = setting(
        factory=Env,
        parse=env,
        schema=shorthand.Deferred(lambda: env_schema(Env)),
        help="Environment on top of the root's.",
    )
    options: Mapping[str, shorthand.OptionValue] = setting(
        factory=dict,
        parse=shorthand.options,
        schema=shorthand.OPTIONS,
        help="Options of `docker run` by their long names.",
        example={"memory": "2g"},
    )
    labels: Mapping[str, str] = setting(
        factory=dict, parse=shorthand.labels, schema=shorthand.SCALARS, help="Labels of the container."
    )
    logging: Logging = setting(factory=Logging, help="Logging on top of the root's.")
    stop_timeout: float | None = setting(
        None,
        parse=shorthand.seconds,
        schema=shorthand.SECONDS,
        help="Seconds to stop after SIGTERM; `drain_timeout` without a proxy, Docker's 10 with one.",
    )
    asset_path: str | None = setting(None, help="Assets of this role, see the root's `asset_path`.")


def tagged_hosts(node: Node) -> TaggedHosts:
    """Hosts as a scalar, a list of names and `name: tags`, or a map of those."""
    if node.kind == "null":
        return types.MappingProxyType({})
    if node.kind == "map":
        return types.MappingProxyType({_name(host, entry): _tags(entry) for host, entry in node.items()})
    found: dict[str, tuple[str, ...]] = {}
    for element in node.elements() if node.kind == "list" else (node,):
        if element.kind == "map":
            pairs = list(element.items())
            if len(pairs) != 1:
                fail(
                    element,
                    "expected one host with its tags",
                    hint="begin each host with '- ', and indent nothing below it",
                )
            host, tags = _name(*pairs[0]), _tags(pairs[0][1])
        else:
            host, tags = _name(shorthand.text(element), element), ()
        found[host] = (*found.get(host, ()), *tags)
    return types.MappingProxyType(found)


def _name(host: str, node: Node) -> str:
    if not re.fullmatch(r"[^\s,;'\"]+", host):
        fail(node, f"{host!r} is no host name or address")
    if "://" in host:
        fail(node, f"{host!r} is a URL", hint="write the host name alone; user and port stand under 'ssh'")
    return host


def _tags(node: Node) -> tuple[str, ...]:
    return () if node.kind == "null" else shorthand.texts(node)


def servers(node: Node) -> Mapping[str, RoleSettings]:
    """Roles by name. A list of hosts is the role `web`; a role that is a list is its hosts."""
    if node.kind == "list":
        return types.MappingProxyType({"web": RoleSettings(hosts=tagged_hosts(node))})
    if node.kind != "map":
        fail(node, f"expected a list of hosts or a map of roles, found {describe(node)}")
    return types.MappingProxyType({name: _role(name, entry) for name, entry in node.items()})


def _role(name: str, node: Node) -> RoleSettings:
    if not re.fullmatch(r"(?!\d+\.\d)[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        fail(
            node.key_where or node,
            f"{name!r} is no name for a role",
            hint="letters, digits, '-', '_' and '.'; a host belongs into a list",
        )
    if node.kind in ("list", "null"):
        return RoleSettings(hosts=tagged_hosts(node))
    if node.kind != "map":
        fail(
            node,
            f"expected the hosts of the role {name!r} or a map of {type_name(RoleSettings)} keys, "
            f"found {describe(node)}",
            hint="write - and the host on the next line",
        )
    return read(RoleSettings, node)


def servers_schema() -> Mapping[str, object]:
    """The JSON schema of `servers`."""
    from freehold.reference import type_schema

    role = {"anyOf": [type_schema(RoleSettings), HOSTS_SCHEMA]}
    return {"anyOf": [HOSTS_SCHEMA, {"type": "object", "additionalProperties": role}]}
