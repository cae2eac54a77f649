"""What runs on a host beside the applications: sshd, firewall, Docker, proxy, updates."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cloudinit.sshoptions import read_options
from freehold.settings import convert, fail, setting
from freehold.wording import describe
from freehold.yamlfile import Node

APP_NETWORK = "freehold"
APP_BRIDGE = "freehold0"
APP_SUBNET = ipaddress.IPv4Network("172.30.0.0/16")
APP_DYNAMIC = ipaddress.IPv4Network("172.30.128.0/17")
DOCKER0 = ipaddress.IPv4Interface("172.17.0.1/16")


_Source = ipaddress.IPv4Network | ipaddress.IPv6Network


def _read_source(text: str, node: Node) -> _Source:
    hint = "write a network such as 198.51.100.0/24 or 2001:db8::/32"
    if "%" in text:
        fail(node, f"{text}: the firewall knows no network by its interface", hint=hint)
    try:
        return ipaddress.ip_network(text)
    except ValueError as exc:
        fail(node, str(exc), hint=hint)


def _read_sources(node: Node) -> tuple[_Source, ...]:
    nodes = node.elements() if node.kind == "list" else (node,)
    return tuple(_read_source(convert(str, item), item) for item in nodes)


@dataclass(frozen=True)
class Ssh:
    """sshd: keys only, and nothing that a deploy does not need."""

    port: int = setting(22, minimum=1, maximum=65535, help="TCP port of sshd.")
    allow: tuple[_Source, ...] = setting(
        (),
        parse=_read_sources,
        form="text or list of text",
        help="Networks that SSH is open to; everybody where empty.",
        schema={"type": ["array", "string"], "items": {"type": "string"}},
        example=["198.51.100.0/24"],
    )
    root: bool = setting(
        True, help="Whether root may log in, with a key; false once every tool has its user."
    )
    max_sessions: int = setting(
        50, minimum=2, maximum=1000, help="Sessions over one connection, and connections that are logging in."
    )
    options: Mapping[str, str] = setting(
        factory=dict,
        parse=read_options,
        help="More settings, as sshd_config(5) names them.",
        schema={"type": "object"},
        example={"AllowTcpForwarding": "no"},
    )


@dataclass(frozen=True)
class PortRule:
    """A port, or a range of ports, that may be reached from outside."""

    first: int
    last: int
    protocol: Literal["tcp", "udp"] = "tcp"
    source: _Source | None = None

    @property
    def ports(self) -> str:
        """`5432` or `8000-8010`."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def _read_ports(node: Node) -> tuple[PortRule, ...]:
    nodes = node.elements() if node.kind == "list" else (node,)
    return tuple(_read_port(item) for item in nodes)


def _read_port(node: Node) -> PortRule:
    form = "write PORT, PORT-PORT, PORT/udp or 'PORT from NETWORK'"
    if node.kind not in ("int", "str"):
        fail(node, f"expected a port, found {describe(node)}", hint=form)
    # `8080:80` is a sexagesimal number in YAML 1.1; the text is what was written.
    text = node.raw or str(node.value)
    found = re.fullmatch(r"(\d+)(?:-(\d+))?(?:/(tcp|udp))?(?:\s+from\s+(\S+))?", text.strip())
    if found is None:
        fail(node, f"{text!r} is no port", hint=form)
    first = int(found.group(1))
    last = int(found.group(2) or first)
    if not 1 <= first <= last <= 65535:
        fail(node, f"{text!r} is no port between 1 and 65535", hint=form)
    source = _read_source(found.group(4), node) if found.group(4) else None
    return PortRule(first, last, "udp" if found.group(3) == "udp" else "tcp", source)


@dataclass(frozen=True)
class Firewall:
    """nftables: nothing comes in but SSH, HTTP, HTTPS, ping and what stands here.

    It holds for ports that containers publish as well.
    """

    enabled: bool = setting(True, help="Whether Freehold's rules are loaded.")
    open: tuple[PortRule, ...] = setting(
        (),
        help="Further ports: `5432`, `8000-8010`, `51820/udp`, `5432 from 198.51.100.0/24`.",
        parse=_read_ports,
        form="text or list of text",
        schema={"type": ["array", "string", "integer"], "items": {"type": ["string", "integer"]}},
        example=["5432 from 198.51.100.0/24"],
    )


@dataclass(frozen=True)
class AddressPool:
    """Where Docker takes the subnets of networks from that name none."""

    base: str = setting(help="IPv4 network.", example="172.20.0.0/14")
    size: int = setting(24, minimum=16, maximum=29, help="Prefix length of each subnet.")

    def __post_init__(self) -> None:
        try:
            network = ipaddress.IPv4Network(self.base)
        except ValueError as exc:
            raise ValueError(f"base: {exc}") from None
        if network.prefixlen > self.size:
            raise ValueError(f"subnets of /{self.size} do not fit into {network}")
        for taken, owner in ((APP_SUBNET, "the application network"), (DOCKER0.network, "docker0")):
            if network.overlaps(taken):
                raise ValueError(f"{network} overlaps {taken}, which {owner} uses")


# What the profile itself says about the Docker Engine; said twice, one of them would be wrong.
_OWN_OPTIONS = {
    "log-driver": "log_max_size and log_max_files",
    "log-opts": "log_max_size and log_max_files",
    "live-restore": "live_restore",
    "registry-mirrors": "mirrors",
    "default-address-pools": "address_pools",
    "bip": "",
    "iptables": "",
    "userland-proxy": "",
    "hosts": "",
}


def _read_options(node: Node) -> Mapping[str, Any]:
    options = convert(Mapping[str, Any], node)
    for name, entry in node.items():
        if name in _OWN_OPTIONS:
            hint = f"say it with {_OWN_OPTIONS[name]}" if _OWN_OPTIONS[name] else "leave it out"
            fail(entry.key_where or entry, f"the option {name!r} is Freehold's own", hint=hint)
    try:
        json.dumps(dict(options))
    except (TypeError, ValueError) as exc:
        fail(node, f"not expressible as JSON: {exc}")
    return dict(options)


@dataclass(frozen=True)
class Docker:
    """The Docker Engine (`/etc/docker/daemon.json`)."""

    log_max_size: str = setting(
        "10m", pattern=r"[1-9]\d*[kmg]", help="Size at which a container's log is rotated.", example="10m"
    )
    log_max_files: int = setting(3, minimum=1, maximum=100, help="How many rotated logs are kept.")
    live_restore: bool = setting(True, help="Containers go on while the engine restarts or is upgraded.")
    mirrors: tuple[str, ...] = setting(
        (), help="Registry mirrors.", pattern=r"https?://\S+", example="https://mirror.example.com"
    )
    address_pools: tuple[AddressPool, ...] = setting(
        (AddressPool("172.20.0.0/14", 24),),
        help="Where networks without a subnet get one.",
        shown="[{base: 172.20.0.0/14, size: 24}]",
    )
    options: Mapping[str, Any] = setting(
        factory=dict,
        help="More of `daemon.json`, as the engine's manual names it.",
        parse=_read_options,
        schema={"type": "object"},
        example={"data-root": "/srv/docker"},
    )


def _read_addresses(node: Node) -> tuple[str, ...]:
    texts = convert(tuple[str, ...], node)
    assert isinstance(texts, tuple)
    for text, item in zip(texts, node.elements(), strict=True):
        try:
            # As in a URL, IPv6 may stand in brackets.
            ipaddress.ip_address(re.sub(r"^\[(.*:.*)\]$", r"\1", text))
        except ValueError as exc:
            fail(item, str(exc), hint="write addresses without ports, such as 203.0.113.7 or 2001:db8::7")
    return texts


@dataclass(frozen=True)
class Proxy:
    """The proxy in front of the applications (Caddy), on ports 80 and 443."""

    enabled: bool = setting(True, help="Whether this host serves applications.")
    email: str | None = setting(
        None,
        pattern=r"[^@\s{}\"]+@[^@\s{}\"]+",
        help="Contact for the certificate authority.",
        example="ops@example.com",
    )
    acme_ca: str | None = setting(
        None,
        pattern=r"internal|https://[^\s{}\"]+",
        help="Directory of another ACME certificate authority; `internal`: the host signs by itself.",
        example="https://acme-staging-v02.api.letsencrypt.org/directory",
    )
    acme_root: str | None = setting(
        None,
        help="File of the project with the root certificate (PEM) of that authority's own server.",
        example="config/ca.pem",
    )
    grace_seconds: int = setting(
        30,
        minimum=1,
        maximum=3600,
        help="How long running requests may take while the proxy is rebooted.",
    )
    http_port: int = setting(80, minimum=1, maximum=65535, help="Port for HTTP.")
    https_port: int = setting(443, minimum=1, maximum=65535, help="Port for HTTPS, TCP and UDP.")
    bind_ips: tuple[str, ...] = setting(
        (),
        parse=_read_addresses,
        help="Listen on these addresses only.",
        schema={"type": "array", "items": {"type": "string"}},
        example=["203.0.113.7"],
    )
    publish: bool = setting(
        True, help="Listen on the host's own addresses; if not, only containers reach the proxy."
    )
    metrics_port: int | None = setting(
        None, minimum=1, maximum=65535, help="Port for Prometheus metrics, for the host and its containers."
    )
    debug: bool = setting(False, help="Log more.")
    log_max_size: str = setting(
        "10m", pattern=r"\d+[kmg]?", help="Size at which the log file is rotated.", example="10m"
    )

    # Not of the file: the text of `acme_root`.
    acme_root_pem: str = field(default="", repr=False)


@dataclass(frozen=True)
class Updates:
    """Security updates, installed by themselves."""

    enabled: bool = setting(True, help="Install security updates every day.")
    everything: bool = setting(False, help="Also point releases, and what Debian gives out between them.")
    reboot: str | None = setting(
        None,
        pattern=r"(?:[01]\d|2[0-3]):[0-5]\d",
        help="When the host may reboot for an update that asks for it, in its time zone; never if not set.",
        example="04:30",
    )
