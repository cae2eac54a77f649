"""Names that lead to another: their sites and routes, as if each of them were served. Pure text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.commands.site import logged, site
from deployer.config import Proxy


def led_site(proxy: Proxy, name: str, certificate: str = "", peers: Sequence[str] = ()) -> str:
    """The site of a name that leads elsewhere, with certificates as the names that are served have them.

    HTTP leads to the other name at once, and not by way of this one's HTTPS.
    """
    whole = replace(proxy, path_prefix=None, path_prefixes=(), ssl_redirect=False, ssl_on_demand=None)
    return site(whole, name, certificate, peers)


def led_route(proxy: Proxy, prefix: str) -> str:
    """What a request for such a name is answered. Without HTTPS here it may be in front of the host: the
    address names no scheme then, and visitors keep the one they came by.
    """
    scheme = "https:" if proxy.ssl else ""
    lines = f"{logged(proxy, prefix)}redir * {scheme}//{proxy.names[0]}{{uri}} 308\n"
    body = "".join(f"\t\t{line}\n" for line in lines.splitlines())
    return f"handle {{\n\troute {{\n{body}\t}}\n}}\n"
