"""Where the proxy listens: the sockets that systemd holds open, and what Caddy calls them."""

from __future__ import annotations

from dataclasses import dataclass

from cloudinit.services import APP_SUBNET, Proxy

SOCKET_UNIT = "freehold-proxy.socket"
SERVICE_UNIT = "freehold-proxy.service"
# The host's own address in the application network: how containers reach a proxy that is not published.
GATEWAY = str(next(APP_SUBNET.hosts()))
_FIRST_DESCRIPTOR = 3


@dataclass(frozen=True)
class Listeners:
    """The addresses of the sockets, in the order of their numbers."""

    http: tuple[str, ...]
    https: tuple[str, ...]
    metrics: tuple[str, ...]

    def http_descriptors(self) -> str:
        """`fd/3`: what sites for HTTP bind to."""
        return self._numbered("fd", 0, self.http)

    def https_descriptors(self) -> str:
        """`fd/4`: what sites for HTTPS bind to."""
        return self._numbered("fd", len(self.http), self.https)

    def quic_descriptors(self) -> str:
        """`fdgram/5`: the same for HTTP/3."""
        return self._numbered("fdgram", len(self.http) + len(self.https), self.https)

    def metrics_descriptors(self) -> str:
        """What the metrics are served on."""
        return self._numbered("fd", len(self.http) + 2 * len(self.https), self.metrics)

    @staticmethod
    def _numbered(kind: str, before: int, addresses: tuple[str, ...]) -> str:
        first = _FIRST_DESCRIPTOR + before
        return " ".join(f"{kind}/{first + index}" for index in range(len(addresses)))


def listeners(proxy: Proxy) -> Listeners:
    """The sockets that the settings amount to."""
    hosts = [GATEWAY] if not proxy.publish else [_bracketed(address) for address in proxy.bind_ips]

    def on(port: int) -> tuple[str, ...]:
        return tuple(f"{host}:{port}" for host in hosts) if hosts else (str(port),)

    metrics = proxy.metrics_port
    inside = (f"127.0.0.1:{metrics}", f"{GATEWAY}:{metrics}") if metrics else ()
    return Listeners(on(proxy.http_port), on(proxy.https_port), inside)


def http_address(proxy: Proxy) -> str:
    """Where a program on the host reaches the proxy: `127.0.0.1:80`."""
    first = listeners(proxy).http[0]
    return first if ":" in first else f"127.0.0.1:{first}"


def _bracketed(address: str) -> str:
    return f"[{address.strip('[]')}]" if ":" in address else address


def socket_unit(proxy: Proxy) -> str:
    """The unit that holds the sockets open, whatever the proxy does."""
    wanted = listeners(proxy)
    lines = [f"ListenStream={address}" for address in (*wanted.http, *wanted.https)]
    lines += [f"ListenDatagram={address}" for address in wanted.https]
    lines += [f"ListenStream={address}" for address in wanted.metrics]
    if any(":" in address for address in (*wanted.http, *wanted.metrics)):
        # An address may come later than the proxy: the network of the containers does.
        lines.append("FreeBind=yes")
    listed = "\n".join(lines)
    return f"""[Unit]
Description=Sockets of the Freehold proxy
Documentation=https://caddyserver.com/docs/caddyfile/directives/bind

[Socket]
# The order is the numbering: the Caddyfile names them fd/3, fd/4 and fdgram/5.
{listed}
Service={SERVICE_UNIT}
Backlog=4096
NoDelay=yes
# QUIC asks for 7 MiB; only root may go past the kernel's default.
ReceiveBuffer=7340032
SendBuffer=7340032
# Connections queue while the proxy is being replaced; the socket never gives up.
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"""


def listening(proxy: Proxy) -> str:
    """How the proxy runs, as one line: the first of the Caddyfile says it, so that a deploy can compare."""
    words = [f"http={proxy.http_port}", f"https={proxy.https_port}"]
    words += [f"bind={','.join(proxy.bind_ips)}"] if proxy.bind_ips else []
    words += [] if proxy.publish else ["publish=no"]
    words += [f"metrics={proxy.metrics_port}"] if proxy.metrics_port else []
    words += ["debug"] if proxy.debug else []
    return " ".join([*words, f"log={proxy.log_max_size}"])
