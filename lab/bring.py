"""Bringing machines up: disks and seeds, definition, start, and the wait until they are ready."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from cloudinit.keys import parse_public_key
from freehold.console import Console
from freehold.process import Runner
from lab.carrier import Carrier, Golden, LibvirtCarrier, OwnCarrier
from lab.parallel import each
from lab.state import LabState, MachineState
from lab.virt import ALIVE, Virt
from lab.wait import wait_ready


def bring_up(
    virt: Virt,
    state: LabState,
    machines: Sequence[MachineState],
    *,
    deadline: float,
    runner: Runner,
    console: Console,
) -> None:
    """Start those of `machines` that do not run, all at once, and wait for every one.

    `deadline` is on time.monotonic(). Raises LabError or DeadlineError with the console's last lines.
    """
    before = {machine.name: virt.state(machine.uuid) for machine in machines}
    cold = [machine for machine in machines if before[machine.name] not in ALIVE]
    for machine in machines:
        if before[machine.name] == "crashed":
            virt.destroy(machine.uuid)
            cold.append(machine)
    public = parse_public_key(state.key.with_name(f"{state.key.name}.pub").read_text())
    golden = {path: Golden.load(path, runner) for path in {state.image_of(machine) for machine in machines}}
    kind = LibvirtCarrier if state.nat else OwnCarrier
    carrier: Carrier = kind(virt, state, golden, user_key=public, runner=runner)
    carrier.ready(cold, console.info)
    with console.board(f"lab {state.name}", [machine.name for machine in machines]) as board:

        def work(machine: MachineState, stop: Event) -> None:
            if machine in cold:
                board.update(machine.name, "disk and seed")
                _begin_console(state, machine)
                carrier.start(machine)
            elif before[machine.name] == "paused":
                virt.resume(machine.uuid)
            wait_ready(
                state,
                machine,
                deadline=deadline,
                runner=runner,
                alive=lambda: carrier.alive(machine),
                tell=lambda text: board.update(machine.name, text),
                stop=stop,
            )
            board.done(machine.name, f"ready at {machine.address}")

        each(
            machines,
            work,
            doing="bringing the lab up",
            failed=lambda machine, error: board.fail(machine.name, str(error).splitlines()[0]),
        )


def _begin_console(state: LabState, machine: MachineState) -> None:
    """Each start has a log of its own, so that an old panic is not taken for a new one."""
    log = state.console(machine)
    if log.exists():
        log.replace(log.with_name("console.old.log"))
