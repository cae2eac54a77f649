"""How the proxy itself runs on a host: `proxy.run`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config import shorthand
from freehold.settings import fail, setting
from freehold.wording import describe
from freehold.yamlfile import Node


@dataclass(frozen=True)
class ProxyRun:
    """How the proxy itself runs on a host. Every service of a host must agree on it."""

    http_port: int = setting(80, help="Port for HTTP.", minimum=1, maximum=65535)
    https_port: int = setting(443, help="Port for HTTPS.", minimum=1, maximum=65535)
    metrics_port: int | None = setting(
        None, help="Port for Prometheus metrics, for the host and its containers.", minimum=1, maximum=65535
    )
    debug: bool = setting(False, help="Log more.")
    log_max_size: str | None = setting(
        None, help="Size at which the log file is rotated.", example="10m", pattern=r"\d+[kmg]?"
    )
    publish: bool = setting(
        True, help="Listen on the host's own addresses; if not, only containers reach the proxy."
    )
    bind_ips: tuple[str, ...] = setting(
        (),
        parse=lambda node: _addresses(node),
        help="Listen on these addresses only.",
        schema=shorthand.TEXTS,
    )
    registry: str | None = setting(None, help="Registry of the proxy's image.")
    repository: str | None = setting(None, help="Repository of the proxy's image.")
    version: str | None = setting(None, help="Version of the proxy's image.")
    options: Mapping[str, shorthand.OptionValue] = setting(
        factory=dict,
        parse=shorthand.options,
        schema=shorthand.OPTIONS,
        help="Options of the proxy's container.",
    )


def _addresses(node: Node) -> tuple[str, ...]:
    found = shorthand.texts(node)
    for address, entry in zip(found, node.elements() or (node,), strict=True):
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            fail(
                entry, f"expected an IP address, found {describe(entry)}", hint="for example 127.0.0.1 or ::1"
            )
    return found
