"""Where a lab has its machines, as far as its file tells: it may be another version's, or damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.places import lab_dir


@dataclass(frozen=True)
class Traces:
    """The libvirts of a lab, its marks on them, and whether its libvirt is its own; none without a file.

    `sure` says whether the file told so.
    """

    lab: str
    directory: Path
    uris: tuple[str, ...] = ()
    token: str = ""
    private: bool = False
    sure: bool = True


def traces(name: str, runtime: Path) -> Traces:
    """What the file of the lab says of its libvirts, whatever else cannot be read in it."""
    directory = lab_dir(name)
    try:
        found = json.loads((directory / "lab.json").read_text())
    except FileNotFoundError:
        return Traces(name, directory)
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        uris = tuple(dict.fromkeys(_uris(found)))
        if uris:
            # As it was written then: machines are marked with it.
            there = Path(str(found.get("directory") or directory))
            return Traces(name, there, uris, str(found.get("token") or ""), found.get("private") is True)
    # A daemon of its own is recognised by its directory; all that it has ends with its processes.
    own = (runtime / "virt").is_dir()
    return Traces(name, directory, private=own, sure=own)


def _uris(found: Mapping[str, Any]) -> list[str]:
    hypervisors = found.get("hypervisors")
    places = [item for item in hypervisors if isinstance(item, dict)] if isinstance(hypervisors, list) else []
    uris = [item.get("uri") for item in places] or [found.get("uri")]
    return [uri for uri in uris if isinstance(uri, str) and uri]
