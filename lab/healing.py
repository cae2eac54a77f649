"""Making whole what faults broke inside of machines, which may be in the middle of a boot."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event

from freehold.errors import FreeholdError, LabError, ProcessTimeout
from lab.lab import Lab
from lab.parallel import each
from lab.state import MachineState

# An emulated machine that was reset takes a minute until it lets anybody in, three on a busy computer.
PATIENCE = 300.0
POLL = 0.5


def heal_inside(
    lab: Lab,
    machines: Sequence[MachineState],
    script: Callable[[MachineState], str],
    *,
    done: Callable[[MachineState], None],
    patience: float = PATIENCE,
) -> None:
    """Run each machine's script as root there, and call `done` where it did its work.

    All machines run. Raises LabError that names those that did not answer within `patience` seconds or where
    the script failed; all others are whole by then.
    """
    deadline = time.monotonic() + patience
    failed: dict[str, FreeholdError] = {}

    def work(machine: MachineState, stop: Event) -> None:
        # An error leaves the other machines to be healed as well.
        try:
            _heal(lab, machine, script, deadline, stop)
            done(machine)
        except FreeholdError as exc:
            failed[machine.name] = exc

    each(machines, work, doing="healing")
    if failed:
        raise LabError(
            f"not whole again: {', '.join(sorted(failed))}",
            hint="`freehold lab status` shows whether they answer; then `freehold lab fault heal` again",
            details=[
                line
                for name, exc in sorted(failed.items())
                for line in (f"{name}: {exc.message}", *(f"  {said}" for said in exc.details))
            ],
        )


def _heal(
    lab: Lab, machine: MachineState, script: Callable[[MachineState], str], deadline: float, stop: Event
) -> None:
    why = "no SSH server answers"
    while not stop.is_set():
        if lab.answers(machine, timeout=10.0):
            try:
                done = lab.exec(
                    machine.name, ["sudo", "bash", "-c", script(machine)], timeout=120, check=False
                )
            except ProcessTimeout:
                why = "a command takes more than two minutes"
            else:
                if done.returncode == 0:
                    return
                said = (done.stderr or done.stdout).splitlines()[-5:]
                # 255 is ssh's own: early in a boot, systemd turns users away.
                if done.returncode != 255:
                    raise LabError(f"the repair ended with exit code {done.returncode}", details=said)
                why = said[-1] if said else "ssh failed"
        if time.monotonic() > deadline:
            break
        stop.wait(POLL)
    raise LabError(why)
