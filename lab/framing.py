"""Frames on a stream: four bytes of length, then the frame (QEMU's `-netdev stream`), and who sends them."""

from __future__ import annotations

import socket
from collections import deque

from lab.switch import MOST_WAITING

HEADER = 4
LONGEST = 256 * 1024


class Frames:
    """Takes a stream apart into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now; ValueError where the stream is none of frames."""
        self._buffer += data
        found, start = [], 0
        while len(self._buffer) - start >= HEADER:
            size = int.from_bytes(self._buffer[start : start + HEADER], "big")
            if size > LONGEST:
                raise ValueError(f"a frame of {size} bytes")
            end = start + HEADER + size
            if len(self._buffer) < end:
                break
            found.append(bytes(self._buffer[start + HEADER : end]))
            start = end
        del self._buffer[:start]
        return found


class Peer:
    """The connection of one machine (or of a control client): bytes to send and frames received."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.frames = Frames()
        self.lines = bytearray()
        self.waiting: deque[bytes] = deque()
        self.size = 0

    def queue(self, data: bytes) -> bool:
        """Keep `data` to be sent; False where too much waits already."""
        if self.size + len(data) > MOST_WAITING:
            return False
        self.waiting.append(data)
        self.size += len(data)
        return True

    def flush(self) -> bool:
        """Send what the socket takes; whether all has gone."""
        while self.waiting:
            data = self.waiting[0]
            try:
                sent = self.connection.send(data)
            except BlockingIOError:
                return False
            self.size -= sent
            if sent < len(data):
                self.waiting[0] = data[sent:]
                return False
            self.waiting.popleft()
        return True
