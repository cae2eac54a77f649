"""Checks across roles and accessories: one proxy per host, names served once, tags that exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.config.accessory import Accessory
from deployer.config.balancing import check_balancers
from deployer.config.document import Document
from deployer.config.env import Env
from deployer.config.model import DeployConfig
from deployer.config.proxy import Proxy
from deployer.config.role import Role
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
        if proxy.path_prefix and proxy.path_prefixes:
            warnings.append(f"{kind}.{owner.name}: 'path_prefix' does not count beside 'path_prefixes'")
        hosts = (*owner.hosts, *owner.balancers) if isinstance(owner, Role) else owner.hosts
        for host in dict.fromkeys(hosts) if proxy.run is not None else ():
            other, first = runs.setdefault(host, (f"{kind}.{owner.name}", proxy))
            if first.run != proxy.run:
                fail(
                    at(node, kind, owner.name, "proxy", "run"),
                    f"the proxy of {host} would have to run in two ways: "
                    f"{other} and {kind}.{owner.name} differ",
                    hint="write 'run' once, under the root's 'proxy'",
                )
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
            hosts = owner.secured if isinstance(owner, Role) else owner.hosts
            for name in owner.proxy.claimed:
                found.setdefault(name, {}).update(dict.fromkeys(hosts))
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


def check_streams(
    roles: Sequence[Role], accessories: Sequence[Accessory], drain_timeout: float, node: Node
) -> None:
    """A limit for what is open at a switch is longer than what every request has, and of a role."""
    for role in roles:
        seconds = role.proxy.stream_timeout if role.proxy is not None else None
        if seconds is not None and seconds <= drain_timeout:
            own = at(node, "servers", role.name, "proxy")
            fail(
                own.get("stream_timeout") or at(node, "proxy", "stream_timeout"),
                f"expected more than the {drain_timeout:g} seconds of drain_timeout, found {seconds:g}",
                hint="requests and streams have drain_timeout anyway; what is open longer has stream_timeout",
            )
    for item in accessories:
        if item.proxy is not None and item.proxy.stream_timeout is not None:
            fail(
                at(node, "accessories", item.name, "proxy", "stream_timeout"),
                "'stream_timeout' has no meaning for an accessory: it stops before the next one starts",
            )


def share_names(roles: Sequence[Role], node: Node) -> tuple[Role, ...]:
    """The roles, each path served once, and HTTPS for a name as the role says that has the whole name.

    Kamal's proxy takes it from there too.
    """
    _check_shared_names(roles, node)
    check_balancers(roles, node)
    whole: dict[tuple[str, str], Proxy] = {}
    for role in roles:
        if role.proxy is not None and role.proxy.whole:
            whole |= dict.fromkeys(_places(role), role.proxy)
    found = []
    for role in roles:
        if role.proxy is not None and not role.proxy.whole:
            deciding = {whole[place].https: whole[place] for place in _places(role) if place in whole}
            if len(deciding) == 1 and all(place in whole for place in _places(role)):
                role = replace(role, proxy=role.proxy.with_https_of(*deciding.values()))
        found.append(role)
    first: dict[tuple[str, str], Role] = {}
    for role in found:
        for host, name in _places(role):
            other = first.setdefault((host, name), role)
            assert role.proxy is not None and other.proxy is not None
            if other.proxy.https != role.proxy.https:
                fail(
                    at(node, "servers", role.name, "proxy", "ssl"),
                    f"the roles {other.name!r} and {role.name!r} want HTTPS in two ways for "
                    f"{name or 'any name'} on {host}",
                    hint="write the same ssl, ssl_redirect and ssl_on_demand for both",
                )
    return tuple(found)


def _places(role: Role) -> tuple[tuple[str, str], ...]:
    """The names that a role serves (empty: any), on each of its hosts."""
    if role.proxy is None:
        return ()
    return tuple((host, name) for host in _reached(role) for name in role.proxy.names or ("",))


def _reached(role: Role) -> tuple[str, ...]:
    """The hosts whose proxies know of a role."""
    return tuple(dict.fromkeys([*role.hosts, *role.balancers]))


def _check_shared_names(roles: Sequence[Role], node: Node) -> None:
    names: dict[tuple[str, str, str], str] = {}
    for role in roles:
        proxy = role.proxy
        if proxy is None:
            continue
        for host in _reached(role):
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
    _check_led_elsewhere(roles, node)


def _check_led_elsewhere(roles: Sequence[Role], node: Node) -> None:
    """A name that leads elsewhere is served by no role of the host, and all say the same of it."""
    first: dict[tuple[str, str], tuple[Role, str]] = {}
    for role in roles:
        if role.proxy is None:
            continue
        ends = {name: name for name in role.proxy.names}
        ends |= dict.fromkeys(role.proxy.redirect_from, ", ".join(role.proxy.names[:1]))
        for place in ((host, name) for host in _reached(role) for name in ends):
            other, end = first.setdefault(place, (role, ends[place[1]]))
            if end != ends[place[1]]:
                fail(
                    at(node, "servers", role.name, "proxy"),
                    f"on {place[0]}, {place[1]} is {end} by the role {other.name!r}, "
                    f"and {ends[place[1]]} by {role.name!r}",
                    hint="serve it, or name it under 'redirect_from' of one role; [] takes nothing over "
                    "from the root's 'proxy'",
                )


def check_tags(roles: Sequence[Role], document: Document, node: Node, warnings: list[str]) -> None:
    used = {tag for role in roles for tags in role.tags.values() for tag in tags}
    used |= {tag for item in document.accessories.values() for tag in (item.tag, *item.tags) if tag}
    for tag in document.env.tags:
        if tag not in used:
            place = at(node, "env", "tags", tag)
            warnings.append(f"{place.key_where or place.where}: no host has the tag {tag!r}")


def check_env(document: Document, roles: Sequence[Role], node: Node, warnings: list[str]) -> None:
    """A name under `clear` and `secret` is the secret's; Kamal's containers get the clear value."""
    places = [(at(node, "env"), Env(document.env.clear, document.env.secret))]
    places += [(at(node, "env", "tags", tag), env) for tag, env in document.env.tags.items()]
    places += [(at(node, "servers", role.name, "env"), role.env) for role in roles]
    places += [
        (at(node, "accessories", name, "env"), item.env) for name, item in document.accessories.items()
    ]
    for place, env in places:
        for name in env.clear:
            if name in env.secret_sources():
                where = at(place, "clear", name)
                warnings.append(
                    f"{where.key_where or where.where}: {name} is a secret too, and that counts; with Kamal "
                    "the clear value does"
                )


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
