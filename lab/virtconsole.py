"""A machine's serial console through libvirt, wherever the machine runs. Errors leave as LabError."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import libvirt

from lab.virt import Virt, translated


class Channel:
    """Bytes from and to something on a hypervisor. Reading and writing may be on different threads."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self) -> bytes:
        """What comes next; nothing at the end."""
        try:
            return bytes(self._stream.recv(4096))
        except libvirt.libvirtError:
            return b""

    def write(self, data: bytes) -> None:
        """Send all of it."""
        with translated("writing to a console"):
            while data:
                data = data[self._stream.send(data) :]

    def close(self) -> None:
        """End it; a read that waits returns."""
        with suppress(libvirt.libvirtError):
            self._stream.abort()


def open_console(virt: Virt, uuid: str) -> Channel:
    """The console of a running machine; it is taken over from whoever has it."""
    with translated("opening a machine's console"):
        domain = virt.domain(uuid)
        stream = domain.connect().newStream()
        domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
    return Channel(stream)
