"""Bringing machines up: disks and seeds, definition, start, and the wait until they are ready."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from cloudinit.keys import parse_public_key
from freehold.console import Console
from freehold.errors import LabError
from freehold.process import Runner
from lab.carrier import Carrier, Golden, LibvirtCarrier, OwnCarrier
from lab.parallel import each
from lab.state import LabState, MachineState
from lab.virt import ALIVE, Virt
from lab.wait import PANICKED, console_tail, fatal, wait_ready


class BringUp:
    """Machines of a lab on their way up: room is made first, then all start and are awaited."""

    def __init__(
        self,
        virt: Virt,
        state: LabState,
        machines: Sequence[MachineState],
        *,
        runner: Runner,
        console: Console,
    ) -> None:
        self.virt, self.state, self.machines = virt, state, machines
        self.runner, self.console = runner, console
        self._before = {machine.name: virt.state(machine.uuid) for machine in machines}
        self._cold = [machine for machine in machines if self._before[machine.name] not in ALIVE]
        public = parse_public_key(state.key.with_name(f"{state.key.name}.pub").read_text())
        images = {state.image_of(machine) for machine in machines}
        golden = {path: Golden.load(path, runner) for path in images}
        kind = LibvirtCarrier if state.nat else OwnCarrier
        self._carrier: Carrier = kind(virt, state, golden, user_key=public, runner=runner)

    def make_ready(self) -> None:
        """LabError where there is no room for the machines that have to be started; none is, yet."""
        for machine in self.machines:
            before = self._before[machine.name]
            if before == "crashed" or (before == "paused" and self._panicked(machine)):
                self.virt.destroy(machine.uuid)
                self._cold.append(machine)
        self._carrier.ready(self._cold, self.console.info)

    def run(self, deadline: float) -> None:
        """Start those that do not run, all at once, and wait for every one until `deadline` (monotonic).

        Raises LabError or DeadlineError with the console's last lines.
        """
        with self.console.board(f"lab {self.state.name}", list(self._before)) as board:

            def work(machine: MachineState, stop: Event) -> None:
                if machine in self._cold:
                    board.update(machine.name, "disk and seed")
                    _begin_console(self.state, machine)
                    self._carrier.start(machine)
                elif self._before[machine.name] == "paused":
                    self.virt.resume(machine.uuid)
                try:
                    wait_ready(
                        self.state,
                        machine,
                        deadline=deadline,
                        runner=self.runner,
                        alive=lambda: self._carrier.alive(machine),
                        tell=lambda text: board.update(machine.name, text),
                        stop=stop,
                    )
                except LabError:
                    if self._panicked(machine):
                        # It would keep a processor of this computer busy for as long as it is left there.
                        self.virt.suspend(machine.uuid)
                    raise
                board.done(machine.name, f"ready at {machine.address}")

            each(
                self.machines,
                work,
                doing="bringing the lab up",
                failed=lambda machine, error: board.fail(machine.name, str(error).splitlines()[0]),
            )

    def _panicked(self, machine: MachineState) -> bool:
        """Whether this start of the machine ended in a panic that libvirt may not have seen."""
        return fatal(console_tail(self.state.console(machine))) == PANICKED


def _begin_console(state: LabState, machine: MachineState) -> None:
    """Each start has a log of its own, so that an old panic is not taken for a new one."""
    log = state.console(machine)
    if log.exists():
        log.replace(log.with_name("console.old.log"))
