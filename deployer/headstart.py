"""TCP connections to hosts, begun while the SSH client is still being loaded: a tenth of a second.

Where a host is, is read here as far as it is simple. The client says it for certain once it is there: it
then asks for a connection to just that place, and opens another where none leads there.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
import socket
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from deployer.endpoint import CONNECT_TIMEOUT, Endpoint

_NOT_SIMPLE = frozenset(["canonicalizehostname", "connecttimeout", "match", "proxycommand", "proxyjump"])
"""What else the SSH client heeds on its way to a host; it reads no file for an `Include`."""
_OWN = ("~/.ssh/config", "/etc/ssh/ssh_config")


class HeadStart:
    """A connection to one place, under way from the start."""

    def __init__(self, address: str, port: int) -> None:
        self.place = (address, port)
        self._socket: socket.socket | None = None
        self._error: OSError | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._connect, daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        try:
            made = socket.create_connection(self.place, timeout=CONNECT_TIMEOUT)
        except OSError as exc:
            self._error = exc
            return
        with self._lock:
            if not self._closed:
                self._socket = made
                return
        made.close()

    def take(self, address: str, port: int) -> socket.socket | None:
        """The connection, once, to whoever wants this very place; TimeoutError where it does not answer.

        None where there is none, or no longer; one that was refused is worth another try.
        """
        if (address, port) != self.place:
            self.close()
            return None
        self._thread.join()
        if isinstance(self._error, TimeoutError):
            error, self._error = self._error, None
            raise error
        with self._lock:
            made, self._socket = self._socket, None
        return made

    def close(self) -> None:
        """Close it if nobody has taken it; waits for nothing."""
        with self._lock:
            self._closed = True
            made, self._socket = self._socket, None
        if made is not None:
            with contextlib.suppress(OSError):
                made.close()


def begin(endpoints: Mapping[str, Endpoint], most: int) -> dict[str, HeadStart]:
    """Connect to the first `most` of the hosts whose place is simple to say; by name."""
    texts: dict[tuple[str, ...], list[str]] = {}
    started: dict[str, HeadStart] = {}
    for name, end in endpoints.items():
        if len(started) == most:
            break
        files = _OWN if end.config_files is None else end.config_files
        if files not in texts:
            texts[files] = _read(files)
        where = None if end.jump or end.proxy_command else place(texts[files], end.address, end.port)
        if where is not None:
            started[name] = HeadStart(*where)
    return started


def place(texts: Iterable[str], address: str, port: int | None) -> tuple[str, int] | None:
    """The address and port of a host, by the SSH configuration files' `texts`; None where it is not simple.

    `port` comes before what they say, as with OpenSSH.
    """
    said: dict[str, str] = {}
    for text in texts:
        applies = True
        for line in text.splitlines():
            word, _, rest = re.sub(r"\s*=\s*|\s+", " ", line.strip()).partition(" ")
            word, rest = word.lower(), rest.replace('"', "")
            if word == "host":
                applies = _matches(rest.split(), address)
            elif word == "match" or (applies and word in _NOT_SIMPLE):
                return None
            elif applies:
                said.setdefault(word, rest)
    name, number = said.get("hostname", address), str(port or said.get("port", "22"))
    if "%" in name or not number.isdigit():
        return None
    return name, int(number)


def _matches(patterns: Iterable[str], address: str) -> bool:
    found = False
    for pattern in patterns:
        if fnmatch.fnmatchcase(address, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _read(files: Iterable[str]) -> list[str]:
    texts = []
    for name in files:
        with contextlib.suppress(OSError):
            texts.append(Path(name).expanduser().read_text(errors="replace"))
    return texts
