"""A small HTTP/1.1 and WebSocket client that retries nothing, so that every lost request is seen."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.load.plan import Target

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Lost(Exception):
    """A request that got no proper answer; the text is the cause."""


@dataclass(frozen=True)
class Answer:
    """A whole response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One TCP connection to a target."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.target = target
        self._reader = reader
        self._writer = writer
        self.reusable = True
        self._answered = False

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """Connect. Lost: refused or unreachable."""
        try:
            reader, writer = await asyncio.open_connection(target.address, target.port)
        except OSError as exc:
            raise Lost(f"connect: {exc.strerror or exc}") from exc
        return cls(target, reader, writer)

    def close(self) -> None:
        """Close at once."""
        self.reusable = False
        with contextlib.suppress(Exception):
            self._writer.close()

    async def get(self, path: str, *, keep: bool) -> Answer:
        """One request and its whole answer. Lost: the connection broke or spoke no HTTP."""
        wish = "keep-alive" if keep else "close"
        head = f"GET {path} HTTP/1.1\r\nHost: {self.target.authority}\r\nConnection: {wish}\r\n\r\n"
        try:
            self._answered = False
            self._writer.write(head.encode())
            await self._writer.drain()
            answer = await self._answer()
        except asyncio.IncompleteReadError as exc:
            self.close()
            raise Lost(
                "the connection was closed " + ("in the answer" if exc.partial else "without an answer")
            ) from exc
        except (ConnectionResetError, BrokenPipeError) as exc:
            # So the kernel says it where the other side had not read the request.
            self.close()
            where = "in the answer" if self._answered else "without an answer"
            raise Lost(f"the connection was closed {where}") from exc
        except (OSError, ValueError, asyncio.LimitOverrunError) as exc:
            self.close()
            raise Lost(f"{type(exc).__name__}: {exc}") from exc
        if not keep or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _answer(self) -> Answer:
        status, headers = await self._head()
        self._answered = True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
            await self._reader.readuntil(b"\r\n")
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, body)

    async def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) < 2 or not words[0].startswith("HTTP/"):
            raise ValueError(f"no HTTP: {first[:60]!r}")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return int(words[1]), headers

    async def upgrade(self, path: str) -> None:
        """Turn the connection into a WebSocket. Lost: the server does not agree."""
        self.reusable = False
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {self.target.authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "",
            "",
        )
        try:
            self._writer.write("\r\n".join(lines).encode())
            status, _ = await self._head()
        except (OSError, ValueError, asyncio.IncompleteReadError) as exc:
            raise Lost(f"websocket handshake: {exc}") from exc
        if status != 101:
            raise Lost(f"websocket handshake: status {status}")

    async def say(self, text: str) -> None:
        """Send one text message."""
        self._frame(TEXT, text.encode())
        try:
            await self._writer.drain()
        except OSError as exc:
            raise Lost(f"websocket: {exc}") from exc

    def _frame(self, kind: int, data: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._writer.write(bytes((0x80 | kind, 0x80 | len(data))) + mask + masked)

    async def hear(self) -> str | None:
        """The next text message; None when the server closed in order. Lost: it just went away."""
        try:
            while True:
                first, second = await self._reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self._reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
                data = await self._reader.readexactly(size)
                kind = first & 0x0F
                if kind == TEXT:
                    return data.decode(errors="replace")
                if kind == PING:
                    self._frame(PONG, data)
                if kind == CLOSE:
                    self._frame(CLOSE, data[:2])
                    self.close()
                    return None
        except (OSError, asyncio.IncompleteReadError) as exc:
            self.close()
            raise Lost("websocket: the connection was cut without a close frame") from exc
