"""Taking a lab down to the last process and file, and making sure of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from freehold.errors import FreeholdError, LabError
from lab import daemon, hypervisors, sweep, tunnel
from lab.state import LabState, lab_dir, load_state, runtime_of
from lab.virt import ABSENT, Virt
from lab.wire import Wire

Connect = Callable[[LabState], AbstractContextManager[Virt]]


def take_down(name: str, connect: Connect) -> None:
    """End everything of a lab that runs; its files stay. LabError names what would not go.

    A lab whose state cannot be read, or whose private daemon cannot be started, is ended by its processes.
    """
    runtime = runtime_of(name)
    try:
        state: LabState | None = load_state(name)
    except LabError:
        state = None
    trouble: list[str] = []
    if state is not None:
        try:
            _remove_machines(state, connect)
        except FreeholdError as exc:
            trouble.append(str(exc))
    for end in (partial(daemon.end, runtime), Wire(runtime).end, partial(tunnel.end, runtime)):
        try:
            end()
        except LabError as exc:
            trouble.append(str(exc))
    left = sweep.finish(sweep.processes([lab_dir(name), runtime]))
    trouble += [f"process {process.pid} ({process.name}) does not end" for process in left]
    # What only the private daemon knew has gone with it; a shared one keeps what it could not remove.
    if trouble and (left or state is None or not state.private):
        raise LabError(f"the lab {name} is not gone", details=trouble)


def _remove_machines(state: LabState, connect: Connect) -> None:
    if state.private and not (state.runtime / "virt").is_dir():
        return
    if state.nat:
        with Virt(*state.uris) as virt:
            still = hypervisors.empty(virt, state)
        if still:
            raise LabError(f"libvirt still has {', '.join(still)}")
        return
    with connect(state) as virt:
        mine = [item for item in virt.owned() if Path(item.directory) == state.directory]
        for item in mine:
            virt.remove(item.uuid)
        still = [item.name for item in mine if virt.state(item.uuid) != ABSENT]
    if still:
        raise LabError(f"libvirt still has {', '.join(still)}")
