"""As much of RFC 6455 as the example needs: a handshake, text frames, ping and a clean close."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct

GOING_AWAY = 1001
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
LIMIT = 64 * 1024
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: str) -> str:
    """The answer to `Sec-WebSocket-Key`."""
    return base64.b64encode(hashlib.sha1(f"{key}{_MAGIC}".encode()).digest()).decode()


def handshake(key: str) -> bytes:
    """The response that turns the connection into a WebSocket."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode()


def frame(kind: int, payload: bytes) -> bytes:
    """A frame as a server sends it: whole and unmasked."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | kind, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | kind, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | kind, 127, size) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(kind, payload) of the next frame of a client; ConnectionError when it breaks the rules."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    if not second & 0x80 or size > LIMIT:
        raise ConnectionError("a client masks its frames and keeps them short")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


class WebSocket:
    """One open WebSocket of the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closing = False

    async def send(self, text: str) -> None:
        """Send one message."""
        if not self._closing:
            self._writer.write(frame(TEXT, text.encode()))
            await self._writer.drain()

    async def receive(self) -> str | None:
        """The next message, or None when the other side has closed."""
        while True:
            try:
                kind, data = await read_frame(self._reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            if kind == TEXT:
                return data.decode(errors="replace")
            if kind == PING:
                self._writer.write(frame(PONG, data))
            elif kind == CLOSE:
                if not self._closing:
                    self._writer.write(frame(CLOSE, data[:2]))
                return None

    def close(self, code: int) -> None:
        """Ask the other side to close; its answer ends `receive`."""
        if not self._closing:
            self._closing = True
            self._writer.write(frame(CLOSE, struct.pack("!H", code)))
