"""What the example answers: pure functions from a request to a response."""

from __future__ import annotations

import asyncio
import html
import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from app.http import Request, Response

MAX_SLOW_SECONDS = 60.0
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Hello from {host}</title>
<link rel="stylesheet" href="/assets/style.css">
<h1>Hello from <em>{host}</em></h1>
<p>This is version <strong>{version}</strong>. {greeting}</p>
<p id="live">connecting …</p>
<script src="/assets/live.js"></script>
</html>
"""


class Site:
    """The pages of one container. `shown` are the settings that /env may tell; never a secret."""

    def __init__(
        self, *, version: str, host: str, assets: Path, shown: Mapping[str, str], ready: bool
    ) -> None:
        self.version = version
        self.host = host
        self.assets = assets
        self.shown = dict(shown)
        self.ready = ready

    async def answer(self, request: Request) -> Response:
        """The response to any request but a WebSocket's."""
        if request.method not in ("GET", "HEAD", "POST"):
            return Response(405, b"method not allowed\n", headers={"Allow": "GET, HEAD, POST"})
        match request.path:
            case "/up":
                return Response(200, b"OK\n") if self.ready else Response(503, b"this version is broken\n")
            case "/":
                return self._page()
            case "/version":
                return Response(200, f"{self.version}\n".encode())
            case "/slow":
                return await self._slow(request)
            case "/env":
                return Response(200, json.dumps(self.shown, indent=2).encode(), "application/json")
            case "/echo":
                return Response(200, request.body, "application/octet-stream")
            case path if path.startswith("/assets/"):
                return self._asset(path.removeprefix("/assets/"))
        return Response(404, b"not found\n")

    def _page(self) -> Response:
        text = PAGE.format(
            host=html.escape(self.host),
            version=html.escape(self.version),
            greeting=html.escape(self.shown.get("GREETING", "")),
        )
        return Response(200, text.encode(), "text/html; charset=utf-8")

    async def _slow(self, request: Request) -> Response:
        try:
            seconds = float(request.query.get("seconds", ["1"])[0])
        except ValueError:
            return Response(400, b"seconds is a number\n")
        if not 0 <= seconds <= MAX_SLOW_SECONDS:
            return Response(400, b"seconds is between 0 and 60\n")
        await asyncio.sleep(seconds)
        return Response(200, f"{self.version} after {seconds:g} s\n".encode())

    def _asset(self, name: str) -> Response:
        path = (self.assets / name).resolve()
        if not path.is_relative_to(self.assets.resolve()) or not path.is_file():
            return Response(404, b"not found\n")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Response(200, path.read_bytes(), kind, {"Cache-Control": "public, max-age=3600"})
