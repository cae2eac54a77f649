"""The lab's switch as a process: `python -m lab.switchd DIRECTORY`.

Each machine's QEMU connects to `DIRECTORY/<machine>.sock` and speaks frames with a length of four
bytes in front (QEMU's `-netdev stream`). `DIRECTORY/control` takes one JSON object a line and answers
each with one. Only Unix sockets: no frame can leave this computer.
"""

from __future__ import annotations

import heapq
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from lab.framing import HEADER, Peer
from lab.switch import Switch

READ = 256 * 1024


class Daemon:
    """The event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.switch = Switch()
        self.selector = selectors.DefaultSelector()
        self.listeners: dict[str, socket.socket] = {}
        self.peers: dict[str, Peer] = {}
        # Frames under way: when they arrive, their order, from and to which port.
        self.pending: list[tuple[float, int, str, str, bytes]] = []
        self.order = 0
        self.ending = False
        self.counters = {"frames": 0, "dropped": 0}

    def run(self) -> None:
        """Serve until SIGTERM."""
        self._listen(self.folder / "control", self._control_accept)
        while not self.ending:
            timeout = max(0.0, self.pending[0][0] - time.monotonic()) if self.pending else None
            for key, mask in self.selector.select(timeout):
                key.data(mask)
            self._deliver_due()
        for path in self.folder.glob("*.sock"):
            path.unlink(missing_ok=True)
        (self.folder / "control").unlink(missing_ok=True)

    def _listen(self, path: Path, accept: Callable[[socket.socket], None]) -> socket.socket:
        # It takes its name when it listens: whoever sees the file can connect.
        early = path.with_suffix(".new")
        early.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(early))
        early.chmod(0o600)
        listener.listen(4)
        listener.setblocking(False)
        early.replace(path)
        self.selector.register(listener, selectors.EVENT_READ, lambda _mask: accept(listener))
        return listener

    def add(self, port: str) -> None:
        self.switch.add(port)
        if port not in self.listeners:
            self.listeners[port] = self._listen(
                self.folder / f"{port}.sock", lambda listener: self._accept(port, listener)
            )

    def remove(self, port: str) -> None:
        self.switch.remove(port)
        self._drop(port)
        listener = self.listeners.pop(port, None)
        if listener is not None:
            self.selector.unregister(listener)
            listener.close()
            (self.folder / f"{port}.sock").unlink(missing_ok=True)

    def _accept(self, port: str, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            # Who came has gone, or the port has, by a request of the same moment.
            return
        connection.setblocking(False)
        # A machine that was restored from a snapshot comes with a new connection; the old one is dead.
        self._drop(port)
        peer = Peer(connection)
        self.peers[port] = peer
        self.selector.register(
            connection, selectors.EVENT_READ, lambda mask: self._machine_ready(port, peer, mask)
        )

    def _drop(self, port: str) -> None:
        peer = self.peers.pop(port, None)
        if peer is not None:
            self.selector.unregister(peer.connection)
            peer.connection.close()

    def _machine_ready(self, port: str, peer: Peer, mask: int) -> None:
        if self.peers.get(port) is not peer:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(port, peer)
            if mask & selectors.EVENT_READ:
                data = peer.connection.recv(READ)
                if not data:
                    self._drop(port)
                    return
                self._received(port, peer.frames.feed(data))
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._drop(port)

    def _received(self, port: str, frames: list[bytes]) -> None:
        now = time.monotonic()
        for frame in frames:
            self.counters["frames"] += 1
            for delivery in self.switch.forward(port, frame, now):
                if delivery.when <= now:
                    self._send(delivery.port, delivery.frame)
                else:
                    self.order += 1
                    entry = (delivery.when, self.order, port, delivery.port, delivery.frame)
                    heapq.heappush(self.pending, entry)

    def _deliver_due(self) -> None:
        now = time.monotonic()
        while self.pending and self.pending[0][0] <= now:
            *_, port, frame = heapq.heappop(self.pending)
            self._send(port, frame)

    def _hurry(self, port: str = "") -> None:
        """Bring what is under way on a link that changed, or on all; what is on a cut one is lost."""
        under_way, self.pending = sorted(self.pending), []
        for entry in under_way:
            *_, source, target, frame = entry
            if port not in ("", source, target):
                # What stays is sorted, and so a heap.
                self.pending.append(entry)
            elif not any(self.switch.links[end].cut for end in (source, target) if end in self.switch.links):
                self._send(target, frame)

    def _send(self, port: str, frame: bytes) -> None:
        peer = self.peers.get(port)
        if peer is None:
            return
        if not peer.queue(len(frame).to_bytes(HEADER, "big") + frame):
            self.counters["dropped"] += 1
            return
        try:
            self._flush(port, peer)
        except OSError:
            self._drop(port)

    def _flush(self, port: str, peer: Peer) -> None:
        wanted = selectors.EVENT_READ
        if not peer.flush():
            wanted |= selectors.EVENT_WRITE
        key = self.selector.get_key(peer.connection)
        if key.events != wanted:
            self.selector.modify(peer.connection, wanted, key.data)

    def _control_accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(5)
        peer = Peer(connection)
        self.selector.register(connection, selectors.EVENT_READ, lambda _mask: self._control_ready(peer))

    def _control_ready(self, peer: Peer) -> None:
        try:
            data = peer.connection.recv(READ)
            peer.lines += data
            while b"\n" in peer.lines:
                line, _, rest = bytes(peer.lines).partition(b"\n")
                peer.lines = bytearray(rest)
                answer = json.dumps(self._answer(line)).encode() + b"\n"
                peer.connection.sendall(answer)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(peer.connection)
            peer.connection.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {"ok": True, **self.command(request)}
        except (ValueError, KeyError, TypeError) as exc:
            return {"ok": False, "error": f"{type(exc).__name__}: {exc}"}

    def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request: `ports`, `fault`, `partition`, `heal` or `state`; answers the state after it."""
        what = request["do"]
        if what == "ports":
            for port in set(self.listeners) - set(request["ports"]):
                self.remove(port)
            for port in request["ports"]:
                self.add(port)
        elif what == "fault":
            if self.switch.fault(request["port"], request["changes"]):
                self._hurry(request["port"])
        elif what == "partition":
            self.switch.partition(request["groups"])
        elif what == "heal":
            self.switch.heal()
            self._hurry()
        elif what != "state":
            raise ValueError(f"unknown request {what!r}")
        return {
            "links": {port: asdict(link) for port, link in self.switch.links.items()},
            "groups": self.switch.groups,
            "connected": sorted(self.peers),
            **self.counters,
        }


def main(argv: list[str]) -> int:
    """Serve in the directory named on the command line; its process id goes to `pid` there."""
    folder = Path(argv[0])
    daemon = Daemon(folder)

    def finish(_signal: int, _frame: FrameType | None) -> None:
        daemon.ending = True
        wake.send(b"\0")

    # A signal only interrupts select() for good when a byte arrives: Python restarts the call otherwise.
    wait, wake = socket.socketpair()
    wait.setblocking(False)
    daemon.selector.register(wait, selectors.EVENT_READ, lambda _mask: wait.recv(16))
    signal.signal(signal.SIGTERM, finish)
    (folder / "pid").write_text(f"{os.getpid()}\n")
    daemon.run()
    (folder / "pid").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
