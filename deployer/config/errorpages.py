"""Reading the project's pages for the proxy's own errors: `404.html`, `503.html`, …"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from freehold.settings import fail
from freehold.yamlfile import Node

LARGEST = 1024**2
"""Caddy takes no larger file into an answer."""


def read_error_pages(root: Path, place: Node) -> Mapping[str, str]:
    """The pages in the directory that `error_pages_path` names, by file name; none where it is absent."""
    directory = root / str(place.value)
    found = {}
    for path in sorted(directory.glob("*.html")) if directory.is_dir() else ():
        if not re.fullmatch(r"[45]\d\d\.html", path.name) or not path.is_file():
            continue
        if path.stat().st_size > LARGEST:
            fail(place, f"{path.name} in {place.value} is larger than {LARGEST} bytes")
        try:
            found[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            fail(place, f"{path.name} in {place.value} cannot be read as UTF-8: {exc}")
    return found
