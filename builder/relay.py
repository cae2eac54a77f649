"""`python -m builder.relay PORT`: standard input and output as a connection to 127.0.0.1:PORT.

QEMU starts one for each connection of a machine on trial whose network reaches nothing else.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

CHUNK = 1 << 16


def main(port: int) -> int:
    """Copy in both directions until the server has said everything."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.settimeout(None)
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        try:
            while data := connection.recv(CHUNK):
                _write_all(data)
        except OSError:
            return 1
    return 0


def _send(connection: socket.socket) -> None:
    # A machine that is done asking may still be reading: its end of input ends nothing here.
    try:
        while data := os.read(0, CHUNK):
            connection.sendall(data)
    except OSError:
        return


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
