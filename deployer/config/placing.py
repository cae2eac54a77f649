"""Accessories as they run: their names, their images, and the hosts that they are on."""

from __future__ import annotations

import types
from collections.abc import Sequence

from deployer.config.accessory import PLACES, Accessory, AccessorySettings, published
from deployer.config.around import Surroundings
from deployer.config.document import Document
from deployer.config.pattern import offer
from deployer.config.proxy import read_proxy
from deployer.config.role import Role
from deployer.config.tree import at
from freehold.settings import fail
from freehold.wording import describe
from freehold.yamlfile import Node


def accessory(
    name: str,
    settings: AccessorySettings,
    document: Document,
    node: Node,
    roles: Sequence[Role],
    around: Surroundings,
) -> Accessory:
    """One accessory, with what the rest of the file says about it."""
    place = at(node, "accessories", name)
    service = settings.service or f"{document.service}-{name}"
    registry = settings.registry
    server = registry.server if registry else None
    proxy = settings.proxy
    if proxy is not None and proxy.kind not in ("map", "bool"):
        fail(proxy, f"expected a map, found {describe(proxy)}")
    if proxy is not None and proxy.value is False:
        proxy = None
    if proxy is not None and proxy.kind == "bool":
        proxy = Node({}, proxy.where, proxy.key_where)
    return Accessory(
        name=name,
        service=service,
        image=f"{server}/{settings.image}" if server else settings.image,
        hosts=_places(name, settings, place, roles, around),
        network=settings.network,
        cmd=settings.cmd,
        publish=published(settings.port),
        env=settings.env,
        labels=types.MappingProxyType({"service": service, **settings.labels}),
        options=settings.options,
        files=settings.files,
        directories=settings.directories,
        volumes=settings.volumes,
        logging=document.logging,
        proxy=read_proxy(proxy) if proxy is not None else None,
        registry=registry,
    )


def _places(
    name: str, settings: AccessorySettings, place: Node, roles: Sequence[Role], around: Surroundings
) -> tuple[str, ...]:
    given = [key for key in PLACES if place.get(key) is not None]
    if len(given) != 1:
        problem = f"says {' and '.join(given)}" if given else "does not say where it runs"
        fail(
            place.key_where or place,
            f"the accessory {name!r} {problem}",
            hint=around.destination_hint("write one of host, hosts, role, roles, tag and tags"),
        )
    if settings.host is not None:
        return (settings.host,)
    if settings.hosts:
        return tuple(settings.hosts)
    by_name = {role.name: role for role in roles}
    wanted = (settings.role,) if settings.role else settings.roles
    for role in wanted:
        if role not in by_name:
            fail(at(place, given[0]), f"there is no role {role!r}", hint=offer(role, list(by_name)))
    tags = {settings.tag} if settings.tag else set(settings.tags)
    hosts = [host for role in wanted for host in by_name[role].hosts]
    hosts += [host for role in roles for host, own in role.tags.items() if tags & set(own)]
    if not hosts and not (wanted and around):
        fail(at(place, given[0]), f"no host has the tag {' or '.join(sorted(tags))}")
    return tuple(dict.fromkeys(hosts))
