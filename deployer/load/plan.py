"""What load goes where: frozen values, and the rule which addresses may be loaded at all."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from freehold.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Load is for this computer and its labs. 198.18.0.0/15 is for benchmarks (RFC 2544) and routed nowhere.
ALLOWED: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
    ipaddress.ip_network("198.18.0.0/15"),
)


@dataclass(frozen=True)
class Target:
    """One host: where to connect, and the name that it is asked for."""

    name: str
    address: str
    port: int = 80
    host: str = ""

    @property
    def authority(self) -> str:
        """The Host header."""
        if self.host:
            return self.host
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return shown if self.port == 80 else f"{shown}:{self.port}"


def parse_target(url: str, *, name: str = "", host: str = "") -> Target:
    """A target out of `http://127.0.0.1:8080`. UsageError: not http, a name, not in ALLOWED."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"{url} is not an http address", hint="for example http://127.0.0.1:8080")
    try:
        port = parts.port or 80
    except ValueError as exc:
        raise UsageError(f"{url}: {exc}", hint="for example http://127.0.0.1:8080") from exc
    target = Target(name or url, parts.hostname, port, host)
    check_target(target)
    return target


def check_target(target: Target) -> None:
    """UsageError for an address that is neither this computer's own nor a lab's."""
    try:
        address = ipaddress.ip_address(target.address)
    except ValueError as exc:
        raise UsageError(
            f"{target.address} is not an IP address", hint="load goes to addresses, not names"
        ) from exc
    if not any(address in network for network in ALLOWED):
        listed = ", ".join(str(network) for network in ALLOWED)
        raise UsageError(f"load may not go to {address}", hint=f"allowed are {listed}")


@dataclass(frozen=True)
class LoadPlan:
    """`rate` requests a second on each target, for ever or for `seconds`; seconds everywhere.

    Every `fresh_every`-th request opens a connection of its own, every `slow_every`-th asks for an
    answer that takes `slow_seconds`; 0 turns that off. The rest use connections that stay open.
    """

    targets: Sequence[Target]
    rate: float = 20.0
    seconds: float | None = None
    path: str = "/"
    fresh_every: int = 4
    slow_every: int = 50
    slow_seconds: float = 2.0
    slow_path: str = "/slow?seconds={seconds:g}"
    websocket: bool = True
    websocket_path: str = "/ws"
    timeout: float = 15.0

    def __post_init__(self) -> None:
        for target in self.targets:
            check_target(target)
        if not 0 < self.rate <= 1000:
            raise UsageError("the rate is between 0 and 1000 requests a second on each target")
