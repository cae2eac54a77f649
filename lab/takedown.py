"""Taking a lab down to the last process and file, and making sure of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from freehold.errors import FreeholdError, LabError
from freehold.process import Runner
from lab import abandoned, daemon, reach, sweep, tunnel
from lab.hypervisors import empty_at
from lab.state import LabState, lab_dir, load_state, runtime_of
from lab.virt import ABSENT, Virt
from lab.wire import Wire


def take_down(name: str, runner: Runner, *, abandon: bool = False) -> tuple[str, ...]:
    """End everything of a lab that runs; its files stay. LabError names what would not go.

    A lab whose state cannot be read, or whose private daemon cannot be started, is ended by its processes.
    What libvirts that do not answer still have is left to `lab gc` with `abandon`, and returned: a line each.
    """
    runtime = runtime_of(name)
    try:
        state: LabState | None = load_state(name)
    except LabError:
        state = None
    kept = _empty(state, runner) if state is not None else {}
    trouble: list[str] = []
    for end in (partial(daemon.end, runtime), Wire(runtime).end, partial(tunnel.end, runtime)):
        try:
            end()
        except LabError as exc:
            trouble.append(str(exc))
    left = sweep.finish(sweep.processes([lab_dir(name), runtime]))
    trouble += [f"process {process.pid} ({process.name}) does not end" for process in left]
    if state is not None and state.private and not left:
        # What only the private daemon knew has gone with it.
        kept = {}
    said = tuple(f"{uri}: {why}" for uri, why in kept.items())
    serious = trouble if left or state is None or not state.private else []
    if serious or (kept and not abandon):
        raise LabError(
            f"the lab {name} is not gone",
            hint="" if serious else "`freehold lab down --abandon` leaves that to a later `lab gc`",
            details=[*said, *serious],
        )
    if state is not None and kept:
        abandoned.note(state, tuple(kept))
    return said


def _empty(state: LabState, runner: Runner) -> dict[str, str]:
    """Remove the lab's machines wherever libvirt answers; why some stay, by URI."""
    if state.private and not (state.runtime / "virt").is_dir():
        return {}
    kept = {}
    for uri in state.uris:
        try:
            if state.private:
                daemon.ensure(state.runtime, runner)
            reach.at(uri, partial(_remove, state, uri), runner=runner)
        except FreeholdError as exc:
            kept[uri] = exc.message
    return kept


def _remove(state: LabState, uri: str, virt: Virt) -> None:
    if state.nat:
        still = empty_at(virt, uri, state.name, state.token)
    else:
        mine = [item for item in virt.owned() if Path(item.directory) == state.directory]
        for item in mine:
            virt.remove(item.uuid)
        still = [f"machine {item.name}" for item in mine if virt.state(item.uuid) != ABSENT]
    if still:
        raise LabError(f"libvirt still has {', '.join(still)}")
