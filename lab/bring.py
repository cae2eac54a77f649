"""Bringing machines up: disks and seeds, definition, start, and the wait until they are ready."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from builder.image import Image
from cloudinit.keys import parse_public_key
from freehold.console import Console
from freehold.paths import cache_dir
from freehold.process import Runner
from lab.domain import domain_xml
from lab.kernel import unpacked
from lab.machine import prepare
from lab.parallel import each
from lab.plan import domain_of
from lab.preflight import check_memory, check_ports, check_space
from lab.state import LabState, MachineState
from lab.virt import ALIVE, Virt
from lab.wait import wait_ready
from lab.wire import Wire

# From this version on QEMU finds the switch again when the switch was restarted.
RECONNECTS = (9, 2, 0)


def bring_up(
    virt: Virt,
    state: LabState,
    machines: Sequence[MachineState],
    image: Image,
    *,
    deadline: float,
    runner: Runner,
    console: Console,
) -> None:
    """Start those of `machines` that do not run, all at once, and wait for every one.

    `deadline` is on time.monotonic(). Raises LabError or DeadlineError with the console's last lines.
    """
    wire = Wire(state.runtime)
    wire.ensure([machine.name for machine in state.machines], runner)
    before = {machine.name: virt.state(machine.uuid) for machine in machines}
    cold = [machine for machine in machines if before[machine.name] not in ALIVE]
    for machine in machines:
        if before[machine.name] == "crashed":
            virt.destroy(machine.uuid)
            cold.append(machine)
    check_memory(cold)
    check_space(cold, state.directory)
    check_ports(cold)
    public = parse_public_key(state.key.with_name(f"{state.key.name}.pub").read_text())
    kernel = unpacked(image.kernel, cache_dir() / "lab" / "kernels", runner)
    reconnect = virt.qemu_version >= RECONNECTS
    with console.board(f"lab {state.name}", [machine.name for machine in machines]) as board:

        def work(machine: MachineState, stop: Event) -> None:
            if machine in cold:
                board.update(machine.name, "disk and seed")
                prepare(state, machine, base=image.qcow2, user_key=public, runner=runner)
                _begin_console(state, machine)
                domain = domain_of(
                    state,
                    machine,
                    image,
                    kernel=kernel,
                    socket=wire.socket(machine.name),
                    reconnect=reconnect,
                )
                virt.define(domain_xml(domain))
                virt.start(machine.uuid)
            elif before[machine.name] == "paused":
                virt.resume(machine.uuid)
            wait_ready(
                state,
                machine,
                deadline=deadline,
                runner=runner,
                alive=lambda: virt.state(machine.uuid),
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
