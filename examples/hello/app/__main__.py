"""`python3 -m app`: serve until SIGTERM, then finish what is under way and leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

from app.http import BadRequest, Request, Response, read_request
from app.pages import Site
from app.version import VERSION
from app.websocket import GOING_AWAY, WebSocket, handshake

SHOWN = ("GREETING", "LOG_LEVEL")
TICK_SECONDS = 1.0


def log(line: str) -> None:
    """One line for `freehold app logs`."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Server:
    """Connections of one process."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.stopping = asyncio.Event()
        self.busy: set[asyncio.Task[None]] = set()
        self.sockets: set[WebSocket] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        try:
            while not self.stopping.is_set():
                waiting = asyncio.ensure_future(read_request(reader))
                leaving = asyncio.ensure_future(self.stopping.wait())
                await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                if not waiting.done():
                    # Nobody has asked anything on this connection: it may be closed.
                    waiting.cancel()
                    break
                self.busy.add(task)
                request = waiting.result()
                if request is None or not await self._serve(request, reader, writer):
                    break
                self.busy.discard(task)
        except BadRequest as exc:
            writer.write(Response(400, f"{exc}\n".encode()).encode(keep_alive=False, without_body=False))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.busy.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if request.path == "/ws" and "sec-websocket-key" in request.headers:
            await self._talk(request, reader, writer)
            return False
        if request.path == "/events":
            await self._events(writer)
            return False
        response = await self.site.answer(request)
        keep = request.keeps_alive and not self.stopping.is_set()
        marked = replace(
            response, headers={**response.headers, "X-Version": self.site.version, "X-Host": self.site.host}
        )
        writer.write(marked.encode(keep_alive=keep, without_body=request.method == "HEAD"))
        await writer.drain()
        if request.path != "/up":
            log(f"{request.method} {request.path} {response.status}")
        return keep

    async def _talk(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Say the version once, then echo each message until one side leaves."""
        writer.write(handshake(request.headers["sec-websocket-key"]))
        talk = WebSocket(reader, writer)
        self.sockets.add(talk)
        log("websocket opened")
        try:
            await talk.send(f"hello {self.site.version} {self.site.host}")
            while (message := await talk.receive()) is not None:
                await talk.send(f"{self.site.version} {message}")
        finally:
            self.sockets.discard(talk)
            log("websocket closed")

    async def _events(self, writer: asyncio.StreamWriter) -> None:
        """Server-sent events: the version, once a second."""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        while not self.stopping.is_set():
            writer.write(f"data: {self.site.version} {self.site.host}\n\n".encode())
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self.stopping.wait()

    async def finish(self) -> None:
        """Close WebSockets politely and wait for the requests under way."""
        self.stopping.set()
        for talk in tuple(self.sockets):
            talk.close(GOING_AWAY)
        while self.busy:
            await asyncio.wait(tuple(self.busy), timeout=0.1)


async def serve() -> None:
    """Listen on PORT until SIGTERM or SIGINT."""
    site = Site(
        version=VERSION,
        host=os.environ.get("KAMAL_HOST") or socket.gethostname(),
        assets=Path(__file__).parent.parent / "static",
        shown={name: os.environ[name] for name in SHOWN if name in os.environ},
        ready=os.environ.get("BROKEN", "") != "1",
    )
    if not os.environ.get("SECRET_KEY"):
        sys.exit("SECRET_KEY is not set")
    server = Server(site)
    listener = await asyncio.start_server(server.connection, "0.0.0.0", int(os.environ.get("PORT", "80")))
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, leave.set)
    log(f"hello {site.version} listens on {listener.sockets[0].getsockname()[1]}")
    await leave.wait()
    log("leaving")
    listener.close()
    await server.finish()


if __name__ == "__main__":
    asyncio.run(serve())
