"""How requests reach a container: the `proxy` section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deployer.config import shorthand
from deployer.config.balancing import BALANCER_PATTERN, check_balancing
from deployer.config.proxynames import check_certificates, check_redirects
from deployer.config.proxyrun import ProxyRun
from freehold.settings import convert, fail, read, setting
from freehold.yamlfile import Node

HOST_PATTERN = r"[^\s/]+"
PREFIX_PATTERN = r"\S*"
HEADER_PATTERN = r"[A-Za-z0-9_-]+"
DIRECTORY_PATTERN = r"(/(?!\.\.?(/|$))[\w.@+-]+)+"
ASK_PATTERN = r"(https?://[\w.:\[\]-]+)?/[\w.~/%+@-]*"


@dataclass(frozen=True)
class Healthcheck:
    """How the new container is probed before it gets traffic."""

    path: str = setting(
        "/up",
        parse=lambda node: _path(node),
        help="Path that answers 2xx once the application is ready, or leads there.",
    )
    interval: float = setting(
        1.0, parse=shorthand.seconds, help="Seconds between probes.", schema=shorthand.SECONDS
    )
    timeout: float = setting(
        5.0, parse=shorthand.seconds, help="Seconds one probe may take.", schema=shorthand.SECONDS
    )
    port: int | None = setting(None, help="Port to probe; `app_port` where absent.", minimum=1, maximum=65535)
    max_attempts: int | None = setting(
        None,
        help="Probes, `interval` apart, after some quicker ones; `deploy_timeout` bounds them too.",
        minimum=1,
    )


@dataclass(frozen=True)
class Certificate:
    """A certificate of one's own, by the names of the secrets that hold it."""

    certificate_pem: str = setting(help="Secret with the certificate and its chain, PEM.")
    private_key_pem: str = setting(help="Secret with the private key, PEM.")


@dataclass(frozen=True)
class Buffering:
    """Whether the proxy waits for a body before it passes it on. Sizes in bytes."""

    requests: bool = setting(
        True, help="Take requests in before the application sees them, up to `memory`; the rest is streamed."
    )
    responses: bool = setting(
        False, help="The same for answers. Off where absent: an answer that comes in pieces would be held up."
    )
    max_request_body: int | None = setting(
        None,
        parse=shorthand.size,
        schema=shorthand.SIZE,
        help="Largest request, answered by 413 beyond; any where absent or 0.",
    )
    max_response_body: int | None = setting(
        None,
        parse=shorthand.size,
        schema=shorthand.SIZE,
        help="Largest answer by its Content-Length, replaced by 500 beyond; any where absent or 0.",
    )
    memory: int | None = setting(
        None,
        parse=shorthand.size,
        schema=shorthand.SIZE,
        help="Bytes of a body kept in memory; 1 MB where absent.",
    )


@dataclass(frozen=True)
class ProxyLogging:
    """Headers in the access log."""

    request_headers: tuple[str, ...] = setting(
        ("Cache-Control", "Last-Modified", "User-Agent"),
        help="Request headers that are logged.",
        pattern=HEADER_PATTERN,
    )
    response_headers: tuple[str, ...] = setting(
        (), help="Response headers that are logged.", pattern=HEADER_PATTERN
    )


@dataclass(frozen=True)
class Proxy:
    """How requests reach a role."""

    host: str | None = setting(
        None,
        help="Host name that is served; several with commas.",
        example="app.example.com",
        pattern=HOST_PATTERN,
    )
    hosts: tuple[str, ...] = setting((), help="Several host names.", pattern=HOST_PATTERN)
    redirect_from: tuple[str, ...] = setting(
        (),
        parse=lambda node: shorthand.texts(node),
        help="Host names that lead to the first of `host` or `hosts`, by 308 with path and query kept.",
        schema=shorthand.TEXTS,
        pattern=HOST_PATTERN,
        example="www.example.com",
    )
    app_port: int = setting(
        80, help="Port the application listens on inside the container.", minimum=1, maximum=65535
    )
    ssl: bool | Certificate = setting(
        False, help="Serve HTTPS: `true` with an automatic certificate (needs a host), or one of your own."
    )
    ssl_redirect: bool = setting(True, help="Redirect HTTP to HTTPS where `ssl` is on.")
    ssl_on_demand: str | None = setting(
        None,
        help="Who says which names may have a certificate at their first visit, where `host` is a wildcard "
        "or absent: a path of the application, or a URL. It is asked with ?domain=NAME; 200 is yes.",
        pattern=ASK_PATTERN,
        example="/domains/allowed",
    )
    forward_headers: bool | None = setting(
        None,
        help="Trust X-Forwarded-* of the client; default: only where `ssl` is off and no `loadbalancer` is.",
    )
    response_timeout: float = setting(
        30.0,
        parse=shorthand.seconds,
        help="Seconds the application may take to begin its answer.",
        schema=shorthand.SECONDS,
    )
    stream_timeout: float | None = setting(
        None,
        parse=shorthand.seconds,
        help="Seconds after a switch for what is open then, such as WebSockets; the deploy waits for "
        "`drain_timeout` alone. Where absent all ends with that.",
        example="600",
        schema=shorthand.SECONDS,
    )
    path_prefix: str | None = setting(
        None,
        parse=lambda node: _prefix(node),
        help="Serve only paths below this prefix; several with commas.",
        pattern=PREFIX_PATTERN,
        example="/api",
    )
    path_prefixes: tuple[str, ...] = setting(
        (),
        parse=lambda node: tuple(_slashed(text, node) for text in convert(tuple[str, ...], node)),
        help="Several path prefixes.",
        pattern=PREFIX_PATTERN,
    )
    strip_path_prefix: bool = setting(True, help="Take the prefix off before the application sees the path.")
    healthcheck: Healthcheck = setting(factory=Healthcheck, help="Probe before traffic.")
    buffering: Buffering = setting(factory=Buffering, help="Buffering of requests and answers.")
    sendfile: tuple[str, ...] = setting(
        (),
        help="Directories in the container, on volumes of the host, whose files the proxy sends where the "
        "application answers with X-Sendfile or X-Accel-Redirect.",
        pattern=DIRECTORY_PATTERN,
        example="/rails/storage",
    )
    logging: ProxyLogging = setting(factory=ProxyLogging, help="Access log.")
    loadbalancer: tuple[str, ...] = setting(
        (),
        parse=lambda node: shorthand.texts(node),
        form="text or list of text",
        help="Host or hosts that have the names and their certificates, and spread requests over the hosts "
        "of the role; hosts of the role too, or others.",
        schema=shorthand.TEXTS,
        pattern=BALANCER_PATTERN,
        example="203.0.113.5",
    )
    run: ProxyRun | None = setting(None, help="How the proxy itself runs on the host.")

    @property
    def names(self) -> tuple[str, ...]:
        """All host names served; empty means any."""
        return tuple(name for name in (self.host or "").split(",") if name) or self.hosts

    @property
    def claimed(self) -> tuple[str, ...]:
        """The names that it has a site for: served, or led elsewhere; empty stands for any."""
        return (*(self.names or ("",)), *self.redirect_from)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All path prefixes served; empty means the whole site."""
        return self.path_prefixes or tuple(prefix for prefix in (self.path_prefix or "").split(",") if prefix)

    @property
    def whole(self) -> bool:
        """Whether it has all of its names, and not only paths below them."""
        return not self.prefixes or "/" in self.prefixes

    @property
    def https(self) -> tuple[bool | Certificate, bool, str | None]:
        """What a name's site says of HTTPS, for which there is one answer a name."""
        return self.ssl, self.ssl_redirect or not self.ssl, self.ssl_on_demand

    def with_https_of(self, other: Proxy) -> Proxy:
        """The same, with HTTPS as `other` has it."""
        return replace(
            self, ssl=other.ssl, ssl_redirect=other.ssl_redirect, ssl_on_demand=other.ssl_on_demand
        )

    @property
    def certificate(self) -> Certificate | None:
        """The certificate of one's own, where there is one."""
        return self.ssl if isinstance(self.ssl, Certificate) else None

    @property
    def automatic(self) -> tuple[str, ...]:
        """The names for which certificates are got ahead of any visit."""
        names = (*self.names, *self.redirect_from)
        return tuple(name for name in names if "*" not in name) if self.ssl is True else ()

    def on_demand(self, name: str) -> bool:
        """Whether the certificates of a site are got at the first visit (empty: the site of any name)."""
        return self.ssl_on_demand is not None and (not name or "*" in name)


def read_proxy(node: Node) -> Proxy:
    """Read a `proxy` map that is in use, and check its keys against one another."""
    proxy = read(Proxy, node)
    hosts = node.get("hosts")
    if hosts is not None and node.get("host") is not None:
        fail(
            hosts.key_where or hosts,
            "write either 'host' or 'hosts', not both",
            hint="keep 'hosts' with all of them",
        )
    check_certificates(node, proxy)
    check_redirects(node, proxy)
    check_balancing(node, proxy)
    if proxy.run is not None and not proxy.run.publish:
        run = node.get("run") or node
        for name in ("http_port", "https_port", "bind_ips"):
            entry = run.get(name)
            if entry is not None:
                fail(entry.key_where or entry, f"{name!r} has no meaning where 'publish' is false")
    return proxy


def proxy_schema() -> Mapping[str, object]:
    """The JSON schema of a role's or the root's `proxy`: a map, or true or false."""
    from freehold.reference import type_schema

    return {"anyOf": [type_schema(Proxy), {"type": ["boolean", "null"]}]}


def _path(node: Node) -> str:
    """A path with the slash in front that Kamal's proxy adds, too."""
    text: str = convert(str, node)
    return text if text.startswith("/") else f"/{text}"


def _prefix(node: Node) -> str | None:
    text: str | None = convert(str | None, node)
    return None if text is None else ",".join(_slashed(one, node) for one in text.split(",") if one)


def _slashed(text: str, node: Node) -> str:
    """A path prefix as Kamal's proxy takes it: a slash in front, and none behind."""
    if not re.fullmatch(PREFIX_PATTERN, text):
        fail(node, f"{text!r} does not have the right form; for example '/api'")
    return f"/{text.strip('/')}"
