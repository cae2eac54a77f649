"""Whose a runtime directory is: every state of a user, and so every lab, has its own below the same one."""

from __future__ import annotations

from pathlib import Path

from freehold.errors import LabError
from freehold.files import guarded_dir, new_private_dir, write_atomic
from lab import sweep
from lab.places import lab_dir
from lab.state import LabState, runtime_of

NOTE = "lab"


def claim(name: str) -> Path:
    """The lab's runtime directory, made where it is missing, with a note of which lab it belongs to."""
    folder = runtime_of(name)
    # Below /tmp it may have been made by somebody else, who could put another one in the lab's place.
    guarded_dir(folder.parent)
    new_private_dir(folder)
    write_atomic(folder / NOTE, f"{lab_dir(name)}\n", 0o600)
    return folder


def owner(folder: Path) -> Path | None:
    """The directory of the lab that a runtime directory belongs to, or None where it does not say."""
    try:
        return Path((folder / NOTE).read_text().strip())
    except OSError:
        return None


def check_kept(state: LabState) -> None:
    """LabError where machines run whose sockets are gone, so that nothing reaches them any more.

    logind empties the runtime directory of a user who logs out, and leaves the processes.
    """
    if state.nat or (state.runtime / ("virt" if state.private else "lan")).is_dir():
        return
    lost = [item for item in sweep.processes([state.directory]) if item.name.startswith("qemu-system")]
    if lost:
        pids = ", ".join(str(item.pid) for item in lost)
        raise LabError(
            f"machines of the lab {state.name} run (process {pids}), but their sockets in {state.runtime} "
            "are gone",
            hint="`freehold lab down` ends them; `loginctl enable-linger` keeps a lab when its user logs out",
        )
