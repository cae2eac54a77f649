"""Taking a lab down to the last process and file, and making sure of it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from freehold.errors import FreeholdError, LabError
from freehold.process import Runner
from lab import abandoned, daemon, reach, sweep, tunnel
from lab.abandoned import Abandoned
from lab.hypervisors import SYSTEM, empty_at
from lab.places import lab_dir
from lab.state import runtime_of
from lab.traces import Traces, traces
from lab.virt import ABSENT, Virt, answers
from lab.virtnet import Networks
from lab.wire import Wire

UNSURE = "other libvirts, which nobody can name: the lab's file cannot be read, so nothing is verified"


def take_down(name: str, runner: Runner, *, abandon: bool = False) -> tuple[str, ...]:
    """End everything of a lab that runs; its files stay. LabError names what would not go.

    Of a lab whose file is another version's as much is read as it takes to find its machines; where it
    cannot be read at all, they are looked for by their marks. A private daemon that cannot be started, and
    what it had, is ended by its processes. What libvirts that do not answer still have is left to `lab gc`
    with `abandon`, and returned: a line each.
    """
    runtime = runtime_of(name)
    found = traces(name, runtime)
    kept = _empty(found, runtime, runner)
    trouble: list[str] = []
    for end in (partial(daemon.end, runtime), Wire(runtime).end, partial(tunnel.end, runtime)):
        try:
            end()
        except LabError as exc:
            trouble.append(str(exc))
    left = sweep.finish(sweep.processes([lab_dir(name), runtime]))
    trouble += [f"process {process.pid} ({process.name}) does not end" for process in left]
    if found.private and not left:
        # What only the private daemon knew has gone with it.
        kept = {}
    said = [f"{uri}: {why}" for uri, why in kept.items()]
    if not found.sure:
        said.append(UNSURE)
    serious = trouble if left or not found.private else []
    if serious or (said and not abandon):
        raise LabError(
            f"the lab {name} is not gone",
            hint="" if serious else "`freehold lab down --abandon` leaves that to a later `lab gc`",
            details=[*said, *serious],
        )
    if kept:
        abandoned.save(Abandoned(name, str(found.directory), found.token, tuple(kept)))
    return tuple(said)


def _empty(found: Traces, runtime: Path, runner: Runner) -> dict[str, str]:
    """Remove the lab's machines wherever libvirt answers; why some stay, by URI."""
    if found.private and not (runtime / "virt").is_dir():
        return {}
    uris = found.uris if found.sure else _near()
    kept = {}
    for uri in uris:
        try:
            if found.private:
                daemon.ensure(runtime, runner)
            reach.at(uri, partial(_remove, found, uri), runner=runner)
        except FreeholdError as exc:
            kept[uri] = exc.message
    return kept


def _near() -> tuple[str, ...]:
    """The libvirts of this computer that answer; none is started by looking."""
    shared = daemon.answering(os.environ)
    found = [shared.uri] if shared is not None else []
    if SYSTEM not in found and answers(SYSTEM):
        found.append(SYSTEM)
    return tuple(found)


def _remove(found: Traces, uri: str, virt: Virt) -> None:
    if found.token:
        still = empty_at(virt, uri, found.lab, found.token)
    else:
        mine = [item for item in virt.owned() if Path(item.directory) == found.directory]
        for item in mine:
            virt.remove(item.uuid)
        still = [f"machine {item.name}" for item in mine if virt.state(item.uuid) != ABSENT]
        if not found.sure and "/session" not in uri:
            marks = {(item.directory, item.token) for item in Networks(virt.connection(uri)).owned()}
            marks |= {(item.directory, item.token) for item in mine}
            for directory, token in sorted(marks):
                if token and Path(directory) == found.directory:
                    still += empty_at(virt, uri, found.lab, token)
    if still:
        raise LabError(f"libvirt still has {', '.join(still)}")
