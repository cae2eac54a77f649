"""The HTTP server that machines boot from: a fixed set of files, nothing else, on one address."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, cast

from freehold.errors import FreeholdError

# As many machines as load at once; more wait for their turn.
CONNECTIONS = 16
# A firmware that says nothing for so long is gone; in seconds.
PATIENCE = 60
# A machine whose first boot device is the network comes back after it was installed: then it is sent on.
LOCAL = b"#!ipxe\necho Installed already: starting from the local disk.\nexit\n"


class BootServer(ThreadingHTTPServer):
    """Serves `files` (path in the URL → file). `told` gets a line for each request that was answered.

    A host whose archive was sent is installed once: from then on its script leads to the local disk.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: str, port: int, files: Mapping[str, Path], told: Callable[[str], None]
    ) -> None:
        self.files = dict(files)
        self.told = told
        self.sent: set[str] = set()
        self.room = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((address, port), _Handler)
        except OSError as exc:
            raise FreeholdError(
                f"{address}:{port} cannot be served: {exc.strerror or exc}",
                hint="give an address of this machine, and a free port, with --serve",
            ) from exc

    @property
    def url(self) -> str:
        """Where iPXE finds its script."""
        host, port = self.server_address[0], self.server_address[1]
        return f"http://{host!s}:{port}/boot.ipxe"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "freehold"
    sys_version = ""
    timeout = PATIENCE

    @property
    def _server(self) -> BootServer:
        return cast(BootServer, self.server)

    def do_GET(self) -> None:
        """Send a file of the set."""
        with self._server.room:
            self._answer(body=True)

    def do_HEAD(self) -> None:
        """Its length alone."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        server = self._server
        name = self.path.partition("?")[0].lstrip("/")
        found = server.files.get(name)
        host = name.removeprefix("hosts/").removesuffix(".ipxe")
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            server.told(f"{self.client_address[0]} asked for {name[:80]!r}, which is not served")
            return
        if name == f"hosts/{host}.ipxe" and host in server.sent:
            self._head(len(LOCAL))
            if body:
                self.wfile.write(LOCAL)
                server.told(f"{self.client_address[0]} {host}: sent to its local disk")
            return
        with found.open("rb") as stream:
            self._head(found.stat().st_size)
            if not body:
                return
            # Before the last byte, as a machine may ask again as soon as it has that.
            archive = name.removeprefix("hosts/").removesuffix(".cpio")
            if name == f"hosts/{archive}.cpio":
                server.sent.add(archive)
            try:
                shutil.copyfileobj(stream, cast(BinaryIO, self.wfile), 1 << 20)
            except OSError:
                server.sent.discard(archive)
                raise
            server.told(f"{self.client_address[0]} {name}")

    def _head(self, length: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """`told` says it."""
