"""A layer's archive put together again from the files of a graph driver.

Docker keeps, beside the unpacked files of a layer, the headers of the archive they came from
(`tar-split.json.gz`: one JSON object a line; type 2 is raw bytes, type 1 names a file whose content
follows). Reading both gives the very bytes without exporting the whole image.
The digest of what comes out is always checked by the reader.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CHUNK = 1 << 18
_FILE, _SEGMENT = 1, 2


def chain_id(layers: Sequence[str]) -> str:
    """The name of the top of a stack of layers: each digest is taken over the one below and its own."""
    chain = layers[0]
    for layer in layers[1:]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {layer}'.encode()).hexdigest()}"
    return chain


def layer_directories(data_root: Path, driver: str, layers: Sequence[str]) -> tuple[Path, Path]:
    """(headers, files) of the top of `layers`. OSError: not there or not readable."""
    name = chain_id(layers).removeprefix("sha256:")
    record = data_root / "image" / driver / "layerdb" / "sha256" / name
    cache = (record / "cache-id").read_text().strip()
    return record / "tar-split.json.gz", data_root / driver / cache / "diff"


def assembled_size(headers: Path) -> int:
    """How many bytes `assemble` gives."""
    total = 0
    for entry in _entries(headers):
        if entry["type"] == _SEGMENT:
            total += len(base64.b64decode(entry.get("payload") or ""))
        else:
            total += int(entry.get("size") or 0)
    return total


def assemble(headers: Path, files: Path) -> Iterator[bytes]:
    """The archive. OSError: a file is gone or not readable."""
    for entry in _entries(headers):
        if entry["type"] == _SEGMENT:
            yield base64.b64decode(entry.get("payload") or "")
        elif entry["type"] == _FILE and entry.get("size"):
            raw = entry.get("name_raw")
            name = base64.b64decode(raw) if raw else str(entry["name"]).encode()
            yield from _content(os.fsencode(files) + b"/" + name)


def _entries(headers: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(headers, "rb") as lines:
        for line in lines:
            entry = json.loads(line)
            assert isinstance(entry, dict)
            yield entry


def _content(path: bytes) -> Iterator[bytes]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
