"""Checks across roles and accessories: one proxy per host, names served once, tags that exist."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.config.accessory import Accessory
from deployer.config.document import Document
from deployer.config.model import DeployConfig, Role
from deployer.config.proxy import Proxy
from deployer.config.sendfile import check_sendfile, volumes_of
from deployer.config.tree import at
from freehold.settings import fail
from freehold.yamlfile import Node

SAME_CERTIFICATES = 5
"""So many certificates of the same names are signed in a week by Let's Encrypt."""


def check_proxies(
    roles: Sequence[Role], accessories: Sequence[Accessory], node: Node, warnings: list[str]
) -> None:
    """One way of running the proxy per host, and certificates that can work."""
    runs: dict[str, tuple[str, Proxy]] = {}
    owners: list[Role | Accessory] = [*roles, *accessories]
    for owner in owners:
        proxy = owner.proxy
        if proxy is None:
            continue
        kind = "servers" if isinstance(owner, Role) else "accessories"
        for host in owner.hosts if proxy.run is not None else ():
            other, first = runs.setdefault(host, (f"{kind}.{owner.name}", proxy))
            if first.run != proxy.run:
                fail(
                    at(node, kind, owner.name, "proxy", "run"),
                    f"the proxy of {host} would have to run in two ways: "
                    f"{other} and {kind}.{owner.name} differ",
                    hint="write 'run' once, under the root's 'proxy'",
                )
    _check_shared_names(roles, node)
    for name, hosts in sharing(roles, accessories).items():
        if name and len(hosts) > SAME_CERTIFICATES:
            warnings.append(
                f"{len(hosts)} hosts get a certificate for {name} each; Let's Encrypt signs "
                f"{SAME_CERTIFICATES} of the same name in a week: use one certificate of your own"
            )


def sharing(roles: Sequence[Role], accessories: Sequence[Accessory]) -> dict[str, tuple[str, ...]]:
    """The hosts that get certificates for a name (empty: for any) by themselves, where they are several."""
    found: dict[str, dict[str, None]] = {}
    owners: list[Role | Accessory] = [*roles, *accessories]
    for owner in owners:
        if owner.proxy is not None and owner.proxy.ssl is True:
            for name in owner.proxy.names or ("",):
                found.setdefault(name, {}).update(dict.fromkeys(owner.hosts))
    return {name: tuple(hosts) for name, hosts in found.items() if len(hosts) > 1}


def check_files(
    roles: Sequence[Role], accessories: Sequence[Accessory], volumes: Sequence[str], node: Node
) -> None:
    """What the proxy is to send lies where it can read."""
    for role in roles:
        own = at(node, "servers", role.name, "proxy")
        place = own.get("sendfile") or at(node, "proxy", "sendfile")
        check_sendfile(place, role.proxy, volumes_of(volumes, role.options))
    for item in accessories:
        place = at(node, "accessories", item.name, "proxy", "sendfile")
        check_sendfile(place, item.proxy, volumes_of(item.volumes, item.options))


def _check_shared_names(roles: Sequence[Role], node: Node) -> None:
    names: dict[tuple[str, str, str], str] = {}
    for role in roles:
        proxy = role.proxy
        if proxy is None:
            continue
        for host in role.hosts:
            for name in proxy.names or ("",):
                for prefix in proxy.prefixes or ("/",):
                    other = names.setdefault((host, name, prefix), role.name)
                    if other != role.name:
                        shown = f"{name}{prefix if prefix != '/' else ''}" or "every request"
                        fail(
                            at(node, "servers", role.name, "proxy"),
                            f"the roles {other!r} and {role.name!r} would both serve {shown} on {host}",
                            hint="give one of them another host or path_prefix",
                        )


def check_tags(roles: Sequence[Role], document: Document, node: Node, warnings: list[str]) -> None:
    used = {tag for role in roles for tags in role.tags.values() for tag in tags}
    used |= {tag for item in document.accessories.values() for tag in (item.tag, *item.tags) if tag}
    for tag in document.env.tags:
        if tag not in used:
            place = at(node, "env", "tags", tag)
            warnings.append(f"{place.key_where or place.where}: no host has the tag {tag!r}")


def check_accessories(config: DeployConfig, document: Document, node: Node, warnings: list[str]) -> None:
    """Names under which Docker and the proxy keep containers apart."""
    routed = {config.container_prefix(role): role.name for role in config.roles if role.proxy}
    taken: dict[str, str] = {}
    for item in config.accessories:
        place = at(node, "accessories", item.name)
        where = place.get("service") or place.key_where or place
        if item.name == "all":
            fail(where, "'all' means every accessory and is no name for one", hint="choose another name")
        other = ""
        if item.service == document.service:
            other = "the application"
        elif item.proxy is not None and item.service in routed:
            other = f"the role {routed[item.service]!r}"
        if other:
            fail(
                where,
                f"the accessory {item.name!r} would be called {item.service!r}, as {other} is",
                hint="give it another name with 'service'",
            )
        first = taken.setdefault(item.service, item.name)
        if first != item.name:
            warnings.append(
                f"{place.key_where or place.where}: the accessories {first!r} and {item.name!r} are one "
                f"container, {item.service!r}"
            )
