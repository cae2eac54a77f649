"""How a machine is now: what libvirt says, how far it has booted, what it takes."""

from __future__ import annotations

from lab import snapshots
from lab.machine import disk_use
from lab.natmachine import fetch_console, volume_use
from lab.report import MachineStatus
from lab.state import LabState, MachineState
from lab.virt import Virt
from lab.wait import console_tail, fatal, stage


def machine_status(virt: Virt, state: LabState, machine: MachineState, answers: bool) -> MachineStatus:
    """The status of a machine; `answers` is whether its SSH server does."""
    current = virt.state(machine.uuid)
    fetch_console(virt, state, machine)
    return MachineStatus(
        machine,
        current,
        _boot_stage(state, machine, current, answers),
        virt.resident(machine.uuid),
        volume_use(virt, state, machine) if state.nat else disk_use(state, machine),
        snapshots.names(virt.snapshots(machine.uuid)),
    )


def _boot_stage(state: LabState, machine: MachineState, current: str, answers: bool) -> str:
    if current != "running":
        return "-"
    tail = console_tail(state.console(machine))
    if fatal(tail):
        return fatal(tail)
    return "SSH answers" if answers else stage(tail)
