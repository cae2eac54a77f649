"""Hosts that share a name: whichever the authority asks passes the question on to the host that began.

Each of them gets a certificate of its own, by HTTP-01. What an authority then asks for below
/.well-known/acme-challenge/ is known to that host alone, and the name leads to any of them. Questions go to
the other hosts of the deploy file and to nobody else, once, and only if they look like a challenge.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployer.config import Proxy

PATH = r"^/\.well-known/acme-challenge/[A-Za-z0-9_-]+$"
MARK = "Freehold-Challenge"
"""A header of what has been passed on once, so that nothing goes round."""


def fragment(proxy: Proxy, peers: Sequence[str]) -> str:
    """Directives for a site or route, before any redirect; nothing where a host is alone.

    Caddy answers challenges of its own before it looks at routes.
    """
    if not peers:
        return ""
    addresses = [f"http://{web(proxy, peer)}" for peer in peers]
    inner = "".join(f"\t{line}\n" for line in _ask(addresses).splitlines())
    asked = f"@challenge {{\n\tmethod GET\n\tpath_regexp {PATH}\n\tnot header {MARK} *\n}}\n"
    return f"{asked}handle @challenge {{\n{inner}}}\n"


def web(proxy: Proxy, host: str) -> str:
    """Where the proxy of a host takes HTTP."""
    port = proxy.run.http_port if proxy.run is not None else 80
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ask(addresses: Sequence[str]) -> str:
    """Ask the first that can be reached; where it does not know, those after it."""
    lines = [
        f"header_up {MARK} once",
        "lb_policy first",
        f"lb_retries {len(addresses) - 1}",
        "fail_duration 10s",
        "transport http {",
        "\tdial_timeout 2s",
        "\tresponse_header_timeout 3s",
        "}",
    ]
    if addresses[1:]:
        lines += ["@known status 200", "handle_response @known {", "\tcopy_response", "}"]
        lines += ["handle_response {", *(f"\t{line}" for line in _ask(addresses[1:]).splitlines()), "}"]
    return "\n".join([f"reverse_proxy {' '.join(addresses)} {{", *(f"\t{line}" for line in lines), "}"])
