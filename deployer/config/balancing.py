"""Checks of `proxy.loadbalancer`: what a host in front of others can do, and what it cannot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.config.tree import at
from freehold.settings import fail
from freehold.yamlfile import Node

if TYPE_CHECKING:
    from deployer.config.proxy import Proxy
    from deployer.config.role import Role

BALANCER_PATTERN = r"[A-Za-z0-9._:-]+"


def check_balancing(node: Node, proxy: Proxy) -> None:
    """Fail for keys that would not be done where other hosts stand in front."""
    place = node.get("loadbalancer")
    if place is None or not proxy.loadbalancer:
        return
    for name, entry in zip(proxy.loadbalancer, place.elements() or (place,), strict=True):
        if not re.fullmatch(BALANCER_PATTERN, name) or name.count(":") == 1:
            fail(
                entry,
                f"{name!r} is no host name or address",
                hint="write the hosts as under 'servers', such as 203.0.113.5 or lb-1.example.com",
            )
        if proxy.loadbalancer.count(name) > 1:
            fail(entry, f"{name} is named twice")
    check, run = node.get("healthcheck"), node.get("run")
    for where, key, why, hint in (
        (
            check and check.get("port"),
            "healthcheck.port",
            "the load balancer asks by way of the hosts' proxies, which reach app_port alone",
            "let the application answer the health check on app_port",
        ),
        (
            check and check.get("path") if re.search(r"[\s\"`{}\\]", proxy.healthcheck.path) else None,
            "healthcheck.path",
            "the proxy of a load balancer cannot ask for a path with such characters",
            "choose a path of letters, digits, '/', '-', '_', '.', '?', '&' and '='",
        ),
        (
            node.get("healthcheck") or place if _unreached(proxy) else None,
            "healthcheck.path",
            "the load balancer asks as visitors do, for whom strip_path_prefix: false leaves no such path",
            "choose a path below path_prefix",
        ),
        (
            node.get("ssl_on_demand"),
            "ssl_on_demand",
            "the application, which says which names may have a certificate, is not on the load balancer",
            "name the hosts, or bring a certificate of your own",
        ),
        (
            run and run.get("publish") if proxy.run is not None and not proxy.run.publish else None,
            "run.publish: false",
            "the load balancer reaches the hosts by their proxies' ports",
            "leave it out; a firewall keeps others away",
        ),
    ):
        if where is not None:
            fail(where.key_where or where, f"{key!r} cannot stand beside 'loadbalancer': {why}", hint=hint)


def _unreached(proxy: Proxy) -> bool:
    """Whether the health check's path is outside of what is served."""
    path = proxy.healthcheck.path
    return not (proxy.whole or proxy.strip_path_prefix) and not any(
        path == prefix or path.startswith(f"{prefix}/") for prefix in proxy.prefixes
    )


def check_balancers(roles: Sequence[Role], node: Node) -> None:
    """Fail where roles have one name and not the same hosts in front: it leads to either of them."""
    first: dict[str, Role] = {}
    for role in roles:
        if role.proxy is None or not role.hosts:
            continue
        for name in role.proxy.names or ("",):
            other = first.setdefault(name, role)
            if set(other.balancers) != set(role.balancers):
                fail(
                    at(node, "servers", role.name, "proxy", "loadbalancer"),
                    f"the roles {other.name!r} and {role.name!r} have different load balancers for "
                    f"{name or 'any name'}, which leads to one of them alone",
                    hint="write 'loadbalancer' once, under the root's 'proxy'",
                )
