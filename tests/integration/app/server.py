"""The application under test: the example's server with streams and ways to fail.

Runs in the container. `APP_VERSION` is what it says it is; `APP_MODE` is how it behaves:
ok, unhealthy (503), missing (404), redirect (301), crash (at the start), silent (listens elsewhere).
"""

# The example's package is beside this file in the image only.
# mypy: disable-error-code="import-not-found,misc,no-any-return"

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from app.__main__ import Server, log
from app.http import Request, Response
from app.pages import Site

PROBE = {
    "unhealthy": Response(503, b"not today\n"),
    "missing": Response(404, b"what health?\n"),
    "redirect": Response(301, b"", headers={"Location": "https://shop.test/up"}),
}
PORT = 8000
CHUNK_SECONDS = 0.1


class Shop(Site):
    """The example's pages, and the environment as it arrived."""

    mode = os.environ.get("APP_MODE", "ok")

    async def answer(self, request: Request) -> Response:
        """The response to any request but a WebSocket's or a stream's."""
        match request.path:
            case "/up" if self.mode in PROBE:
                return PROBE[self.mode]
            case "/moved":
                return Response(302, b"", headers={"Location": "http://shop.test/up"})
            case "/secure" if request.headers.get("x-forwarded-proto") != "https":
                return Response(301, b"", headers={"Location": "https://shop.test/secure"})
            case "/secure":
                return Response(200, b"safe\n")
            case "/environment":
                return Response(200, json.dumps(dict(os.environ)).encode(), "application/json")
            case "/request":
                seen = {"path": request.path, "headers": request.headers}
                return Response(200, json.dumps(seen).encode(), "application/json")
            case "/named":
                # The proxy is to send a file in place of this.
                header, path = request.query["header"][0], request.query["path"][0]
                said = {"Content-Disposition": "attachment", header: path}
                return Response(200, b"ignored", "text/x-own", headers=said)
            case "/allowed":
                known = os.environ.get("TENANTS", "").split(",")
                return Response(200 if request.query["domain"][0] in known else 404, b"")
            case "/large":
                return Response(200, b"x" * int(request.query["bytes"][0]))
        return await super().answer(request)


class ShopServer(Server):
    """The example's server that can also stream."""

    async def _serve(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if request.path != "/stream":
            return await super()._serve(request, reader, writer)
        chunks = int(request.query["chunks"][0])
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n"
        )
        for number in range(chunks):
            data = f"{self.site.version} {number}\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(CHUNK_SECONDS)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return False


async def serve() -> None:
    """Listen until SIGTERM."""
    version, mode = os.environ["APP_VERSION"], Shop.mode
    log(f"shop {version} starts")
    if mode == "crash":
        log("no database: giving up")
        sys.exit(3)
    site = Shop(
        version=version, host=os.environ.get("KAMAL_HOST", ""), assets=Path("/srv"), shown={}, ready=True
    )
    server = ShopServer(site)
    listener = await asyncio.start_server(
        server.connection, "127.0.0.1" if mode == "silent" else "0.0.0.0", PORT
    )
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    await leave.wait()
    listener.close()
    await server.finish()


if __name__ == "__main__":
    asyncio.run(serve())
