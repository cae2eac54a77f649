"""Snapshots with memory: keep how a lab is, and be back there in seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Event

from freehold.errors import DeadlineError, LabError, UsageError
from lab.lab import Lab
from lab.locks import locked
from lab.parallel import each
from lab.snapshots import MARK, called, common, further
from lab.state import LabState, MachineState
from lab.virt import ALIVE, Virt
from lab.wait import banner

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}"
ANSWERING = 300.0


class Moments:
    """The snapshots of one lab: memory and disks of all its machines under one name."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def names(self) -> tuple[str, ...]:
        """Snapshots that every machine has, the oldest first."""
        state = self.lab.state
        with self.lab.connected(state) as virt:
            return tuple(_common(virt, state))

    def take(self, name: str) -> None:
        """Keep memory and disks of all machines; a snapshot of that name is replaced, or stays on failure."""
        check_snapshot_name(name)
        with locked(self.lab.name):
            state = self.lab.state
            if state.boot != "kernel":
                raise LabError(
                    "a machine that booted by firmware cannot be kept with its memory",
                    hint="use `boot: kernel` in config/lab.yml",
                )
            with self.lab.connected(state) as virt, self.lab.console.step(f"snapshot {name}"):
                off = [item.name for item in state.machines if virt.state(item.uuid) not in ALIVE]
                if off:
                    raise LabError(f"{', '.join(off)} does not run", hint="`freehold lab start` starts it")

                before = {item.name: virt.snapshots(item.uuid) for item in state.machines}
                new = further(name, list(before.values()))
                try:
                    each(
                        state.machines,
                        lambda machine, _stop: virt.snapshot(machine.uuid, new),
                        doing=f"the snapshot {name}",
                    )
                except BaseException:
                    for machine in state.machines:
                        # It must not hide why.
                        with suppress(LabError):
                            _forget(virt, machine, [new])
                    raise
                each(
                    state.machines,
                    lambda machine, _stop: _forget(virt, machine, _named(name, before[machine.name])),
                    doing=f"deleting the snapshot {name} of before",
                )

    def restore(self, name: str = "") -> str:
        """Put all machines back to a snapshot (the last one by default); returns its name.

        Returns when every SSH server answers and every clock is right again.
        """
        with locked(self.lab.name):
            state = self.lab.state
            with self.lab.connected(state) as virt:
                known = _common(virt, state)
                wanted = name or (list(known)[-1] if known else "")
                if wanted not in known:
                    what = f"snapshot {name!r}" if name else "snapshot"
                    raise LabError(
                        f"the lab {state.name} has no {what}",
                        hint=f"it has {', '.join(known)}"
                        if known
                        else "`freehold lab snapshot NAME` takes one",
                    )
                with self.lab.console.step(f"back to the snapshot {wanted}"):
                    each(
                        state.machines,
                        lambda machine, stop: self._restore(virt, machine, known[wanted], stop),
                        doing=f"restoring {wanted}",
                    )
        return wanted

    def _restore(self, virt: Virt, machine: MachineState, name: str, stop: Event) -> None:
        virt.restore(machine.uuid, name)
        deadline = time.monotonic() + ANSWERING
        while not banner(machine.address, machine.ssh_port, 10.0):
            if stop.wait(0.1):
                raise LabError(f"{machine.name}: given up")
            if time.monotonic() > deadline:
                raise DeadlineError(f"{machine.name}: no SSH server answers after the snapshot was restored")
        # The machine's clock stood still since the snapshot: certificates and logs want it right.
        self.lab.exec(machine.name, ["sudo", "date", "--set", f"@{time.time():.0f}"], timeout=ANSWERING)

    def forget(self, name: str) -> None:
        """Delete a snapshot from all machines that have it."""
        with locked(self.lab.name):
            state = self.lab.state
            with self.lab.connected(state) as virt:
                owned = {item.name: _named(name, virt.snapshots(item.uuid)) for item in state.machines}
                owners = [item for item in state.machines if owned[item.name]]
                if not owners:
                    raise LabError(f"the lab {state.name} has no snapshot {name!r}")
                each(
                    owners,
                    lambda machine, _stop: _forget(virt, machine, owned[machine.name]),
                    doing=f"deleting {name}",
                )


def _common(virt: Virt, state: LabState) -> dict[str, str]:
    return common([virt.snapshots(machine.uuid) for machine in state.machines])


def _named(name: str, snapshots: Sequence[str]) -> list[str]:
    return [item for item in snapshots if called(item) == name]


def _forget(virt: Virt, machine: MachineState, snapshots: Sequence[str]) -> None:
    known = virt.snapshots(machine.uuid)
    for item in snapshots:
        if item in known:
            virt.forget(machine.uuid, item)


def check_snapshot_name(name: str) -> str:
    """`name`, or UsageError where it cannot be one."""
    if not re.fullmatch(NAME, name) or MARK in name:
        raise UsageError(
            f"{name!r} is no name for a snapshot", hint="letters, digits, '_', '-' and single '.'"
        )
    return name
