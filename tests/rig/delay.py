"""A wire with a delay, for kernels without netem: frames read on one link are written to another later.

    python -m tests.rig.delay FIRST SECOND MILLISECONDS

runs inside the namespace that holds both links, until it is ended, and says `ready` when it carries.
It works below IP: whatever crosses it (TCP, UDP, ARP) keeps its addresses and its order.
"""

from __future__ import annotations

import ctypes
import fcntl
import selectors
import socket
import struct
import sys
import time
from collections import deque

ETH_P_ALL = 0x0003
# sockaddr_ll's packet type for frames that this machine itself sends out through the link.
PACKET_OUTGOING = 4
SIOCETHTOOL = 0x8946
# ethtool_cmd numbers: no segments larger than a frame, and checksums filled in before we see them.
SWITCH_OFF = {"transmit checksums": 0x17, "TCP segmentation": 0x1F, "generic segmentation": 0x24}


def offloads_off(link: str) -> None:
    """A raw socket cannot carry on what the kernel put off doing; make it do the work at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in SWITCH_OFF.values():
            value = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
            request = struct.pack("16sP", link.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, SIOCETHTOOL, request.ljust(40, b"\0"))


def relay(first: str, second: str, delay: float) -> None:
    """Carry frames both ways, each `delay` seconds later, until the process is ended."""
    sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) for _ in range(2)]
    selector = selectors.DefaultSelector()
    queues: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    for index, (link, raw) in enumerate(zip((first, second), sockets, strict=True)):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        raw.bind((link, ETH_P_ALL))
        raw.setblocking(False)
        selector.register(raw, selectors.EVENT_READ, index)
    print("ready", flush=True)
    while True:
        due = [queue[0][0] for queue in queues if queue]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        for key, _ in selector.select(wait):
            now = time.monotonic()
            for _ in range(256):
                try:
                    frame, origin = sockets[key.data].recvfrom(65535)
                except BlockingIOError:
                    break
                if origin[2] != PACKET_OUTGOING:
                    queues[key.data].append((now + delay, frame))
        now = time.monotonic()
        for index, queue in enumerate(queues):
            while queue and queue[0][0] <= now:
                _send(sockets[1 - index], queue.popleft()[1])


def _send(raw: socket.socket, frame: bytes) -> None:
    try:
        raw.send(frame)
    except OSError:
        # A full queue or a link that is down loses the frame, as a wire does; TCP sends it again.
        return


def main() -> None:
    first, second, milliseconds = sys.argv[1:]
    relay(first, second, float(milliseconds) / 1000)


if __name__ == "__main__":
    main()
