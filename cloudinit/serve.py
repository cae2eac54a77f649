"""NoCloud over HTTP: a seed served from memory, and the words that tell a machine where it is.

cloud-init asks for meta-data, user-data and vendor-data below the address; from 24.1 on for
network-config too. The name `nocloud-net` is the one that every release knows; `nocloud` with an
http address came with 23.3: https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from freehold.errors import FreeholdError, UsageError

# What a machine has asked for when it has its identity.
NEEDED = frozenset({"meta-data", "user-data", "vendor-data"})


def kernel_argument(url: str) -> str:
    """For the kernel's command line; in a GRUB file it stands in quotes, as `;` ends a command there."""
    return f"ds=nocloud-net;s={url}"


def smbios_argument(url: str) -> str:
    """For QEMU: the serial number of the machine. A comma in a value of QEMU's is doubled."""
    return f"-smbios 'type=1,serial=ds=nocloud-net;s={url.replace(',', ',,')}'"


def read_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPV6]:PORT` or `PORT`; UsageError where it is none. Port 0: a free one."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is no address to serve on", hint="for example 127.0.0.1:8000")
    host = host.strip("[]") or "127.0.0.1"
    if host in ("0.0.0.0", "::", "*"):
        raise UsageError(
            f"{text} is every address of this computer",
            hint="name the one that the machine reaches: a seed is nobody else's business",
        )
    return host, int(port)


@dataclass
class SeedServer:
    """A running server. `fetched` is set once a machine has everything that it needs."""

    url: str
    fetched: threading.Event = field(default_factory=threading.Event)
    asked: set[str] = field(default_factory=set)


@contextmanager
def serve(
    files: Mapping[str, bytes], host: str, port: int, log: Callable[[str], None]
) -> Iterator[SeedServer]:
    """Serve a seed until the block is left; FreeholdError where the address cannot be had."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            data = files.get(name)
            log(f"{self.client_address[0]} asks for {name or '/'}{'' if data is not None else ': not there'}")
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")
            running.asked.add(name)
            if running.asked >= NEEDED:
                running.fetched.set()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Requests are told by `log`."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    try:
        server = Server((host, port), Handler)
    except OSError as exc:
        raise FreeholdError(
            f"no seed can be served on {host}:{port}: {exc.strerror}",
            hint="choose another with --serve HOST:PORT",
        ) from exc
    shown = f"[{host}]" if ":" in host else host
    running = SeedServer(f"http://{shown}:{server.server_address[1]}/")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
