"""What is inside an image, for people and for scanners: manifest and checksums."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder.installed import Installed
from builder.store import file_digest


@dataclass(frozen=True)
class Manifest:
    """An image described. `created`: the package mirror's date, in seconds since 1970."""

    key: str
    suite: str
    arch: str
    kernel: str
    cmdline: str
    virtual_size: int
    created: int
    root_uuid: str
    packages: tuple[Installed, ...]


def manifest(image: Manifest) -> str:
    """manifest.json: the image's facts and its packages with versions."""
    found = {
        "key": image.key,
        "suite": image.suite,
        "arch": image.arch,
        "kernel": image.kernel,
        "cmdline": image.cmdline,
        "virtual_size": image.virtual_size,
        "created": image.created,
        "root_uuid": image.root_uuid,
        "packages": {package.name: package.version for package in image.packages},
    }
    return json.dumps(found, indent=2) + "\n"


def sums(directory: Path, names: Iterable[str]) -> str:
    """SHA256SUMS of files in `directory`, as `sha256sum --check` reads it."""
    return "".join(f"{file_digest(directory / name)}  {name}\n" for name in sorted(names))
