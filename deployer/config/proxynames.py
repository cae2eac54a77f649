"""Checks of a `proxy` section's names: which can have certificates, which can lead to another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from freehold.settings import fail
from freehold.yamlfile import Node

if TYPE_CHECKING:
    from deployer.config.proxy import Proxy

NAME_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"


def check_certificates(node: Node, proxy: Proxy) -> None:
    """Fail where no certificate can be had for what is to be served."""
    ssl, demand = node.get("ssl") or node, node.get("ssl_on_demand") or node
    wild = next((name for name in proxy.names if "*" in name), None)
    if proxy.ssl_on_demand is not None:
        if proxy.ssl is not True:
            fail(demand.key_where or demand, "'ssl_on_demand' needs ssl: true")
        if proxy.names and wild is None:
            fail(
                demand.key_where or demand,
                "'ssl_on_demand' has no meaning where every host is named: they get certificates at once",
                hint="take 'host' out to serve any name, or write a wildcard such as '*.example.com'",
            )
        return
    if proxy.ssl and not proxy.names and proxy.certificate is None:
        fail(
            ssl.key_where or ssl,
            "'ssl' needs a 'host' to ask a certificate for",
            hint="write host: app.example.com beside it, or ssl: false; where customers bring names of "
            "their own, ssl_on_demand: /a/path says which",
        )
    if proxy.ssl is True and wild is not None:
        fail(
            ssl.key_where or ssl,
            f"no certificate can be had automatically for {wild}",
            hint="name the hosts one by one, bring a certificate of your own as `certificate_pem`, or say "
            "with ssl_on_demand which names may have one",
        )


def check_redirects(node: Node, proxy: Proxy) -> None:
    """Fail for names that cannot lead to the first one that is served."""
    place = node.get("redirect_from")
    if place is None or not proxy.redirect_from:
        return
    first = proxy.names[0] if proxy.names else ""
    if not first or "*" in first:
        fail(
            place.key_where or place,
            f"'redirect_from' leads to the first host, and {first or 'none'} is no name to lead to",
            hint="write the canonical name first under 'host' or 'hosts'",
        )
    for name, entry in zip(proxy.redirect_from, place.elements() or (place,), strict=True):
        if not re.fullmatch(NAME_PATTERN, name):
            fail(
                entry,
                f"expected a host name, found {name!r}",
                hint="write the names one by one, such as www.example.com; no wildcard, no port",
            )
        if name in proxy.names or proxy.redirect_from.count(name) > 1:
            fail(
                entry,
                f"{name} is named twice: a name is either served or leads to {first}",
                hint="take it out of 'host', 'hosts' or 'redirect_from'",
            )
