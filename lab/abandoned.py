"""What a lab left on libvirts that did not answer when it was taken down: noted, and removed later.

<state>/abandoned/<lab>-<mark>.json, one for each lab; `lab gc` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from freehold.errors import FreeholdError, LabError
from freehold.files import write_atomic
from freehold.paths import state_dir
from freehold.process import Runner
from lab import reach
from lab.hypervisors import empty_at
from lab.virt import Virt

FORMAT = 1


@dataclass(frozen=True)
class Abandoned:
    """A lab that is gone but for what is on `uris`; `token` is empty where it had no networks there."""

    lab: str
    directory: str
    token: str
    uris: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the note is."""
        mark = self.token or hashlib.sha256(self.directory.encode()).hexdigest()[:6]
        return folder() / f"{self.lab}-{mark}.json"


def folder() -> Path:
    """Where the notes are."""
    return state_dir() / "abandoned"


def save(left: Abandoned) -> None:
    """Write a note down, in place of one that is there."""
    write_atomic(left.path, json.dumps({"format": FORMAT, **asdict(left)}, indent=2) + "\n", 0o600)


def notes() -> tuple[Abandoned, ...]:
    """All notes; one that cannot be read is a LabError that names it."""
    return tuple(_read(path) for path in sorted(folder().glob("*.json")))


def _read(path: Path) -> Abandoned:
    try:
        found = json.loads(path.read_text())
        if found.pop("format") != FORMAT:
            raise ValueError("it was written by another version")
        return Abandoned(**{**found, "uris": tuple(found["uris"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise LabError(f"{path} cannot be read: {exc}", hint="delete it where the lab is gone") from exc


def collect(left: Abandoned, runner: Runner) -> Mapping[str, str]:
    """Remove what a lab left wherever libvirt answers by now; why it stays where it does, by URI."""
    stays = {}
    for uri in left.uris:
        try:
            reach.at(uri, partial(_remove, left, uri), runner=runner)
        except FreeholdError as exc:
            stays[uri] = exc.message
    if stays:
        save(replace(left, uris=tuple(stays)))
    else:
        left.path.unlink(missing_ok=True)
        with suppress(OSError):
            folder().rmdir()
            state_dir().rmdir()
    return stays


def _remove(left: Abandoned, uri: str, virt: Virt) -> None:
    if left.token:
        still = empty_at(virt, uri, left.lab, left.token)
    elif Path(left.directory, "lab.json").is_file():
        # The lab was brought up again and has taken its machines back.
        return
    else:
        mine = [item for item in virt.owned() if item.directory == left.directory]
        for item in mine:
            virt.remove(item.uuid)
        gone = {item.uuid for item in virt.owned()}
        still = [f"machine {item.name}" for item in mine if item.uuid in gone]
    if still:
        raise LabError(f"libvirt still has {', '.join(still)}")
