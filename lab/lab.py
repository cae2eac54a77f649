"""A lab and what can be done with it.

lab = Lab("shop", runner=runner, console=console)
state = lab.up(spec)        # machines run, SSH answers with known keys, cloud-init is done
lab.exec("web-1", ["docker", "ps"])
lab.down()                  # nothing is left, and that was verified
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

from freehold.console import Console, duration
from freehold.errors import FreeholdError
from freehold.files import write_atomic
from freehold.process import Completed, Runner
from lab import daemon, tunnel
from lab.bring import BringUp
from lab.locks import locked
from lab.machine import host_key, key_pair
from lab.model import LabSpec
from lab.natmachine import fetch_console, forget_disks
from lab.parallel import each
from lab.places import lab_dir
from lab.placing import Placing
from lab.report import MachineStatus
from lab.runtime import check_kept
from lab.seeds import known_hosts
from lab.ssh import ssh_command, ssh_config
from lab.state import LabState, MachineState, load_state, remove_files, runtime_of, save_state
from lab.status import machine_status
from lab.takedown import take_down
from lab.virt import ALIVE, Virt
from lab.wait import banner, console_size, wait_ready

# systemd gives each service 90 seconds to end; cut off then, a machine would not be stopped in order.
SHUTDOWN = 180.0


class Lab:
    """One lab by its name. Methods that change it hold its lock; LockedError where another one does."""

    def __init__(
        self, name: str, *, runner: Runner, console: Console, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.runner = runner
        self.console = console
        self.environ = os.environ if environ is None else environ

    @property
    def state(self) -> LabState:
        """What the lab is; LabError where it is not there."""
        return load_state(self.name)

    def reached(self, *names: str) -> LabState:
        """What the lab is, with the roads to these machines open: a tunnel that ended is started again."""
        state = self.state
        tunnel.ensure(state, self.runner, [state.machine(name) for name in names])
        return state

    @property
    def exists(self) -> bool:
        """Whether there is anything of the lab on this computer."""
        return lab_dir(self.name).is_dir()

    @contextmanager
    def running(self, spec: LabSpec) -> Iterator[LabState]:
        """The lab up for the block, and down after it whatever happens."""
        try:
            yield self.up(spec)
        finally:
            self.down()

    def up(self, spec: LabSpec) -> LabState:
        """Bring the machines up and wait until they are ready; those that are up stay as they are.

        What a broken run left is taken up again. Raises LabError or DeadlineError with the console's
        last lines; the machines are left as they are then, to be looked at. A new lab that finds no room
        for its machines leaves nothing.
        """
        began = time.monotonic()
        with locked(self.name), ExitStack() as undo:
            known = self.state if (lab_dir(self.name) / "lab.json").is_file() else None
            placing = Placing(spec, known, runner=self.runner, console=self.console)
            if known is None:
                undo.callback(self._undo)
            placing.check(self.environ)
            image = placing.image()
            state = placing.plan(image, self._alive(known) if known else ())
            with self.connected(state, tunnels=False) as virt:
                if state.nat:
                    state = placing.placed(virt, state)
                    tunnel.ensure(state, self.runner)
                self._remove_surplus(virt, known, state)
                save_state(state)
                self._write_files(state)
                boot = self._made_ready(virt, state, state.machines)
                # From here on there is something to look at.
                undo.pop_all()
                boot.run(began + spec.deadline)
        self.console.success(
            f"the lab {state.name} is up: {len(state.machines)} machines in "
            f"{duration(time.monotonic() - began)}"
        )
        return state

    @contextmanager
    def connected(self, state: LabState, *, tunnels: bool = True) -> Iterator[Virt]:
        """The lab's libvirts for the block; a private daemon or a tunnel that ended is started again."""
        check_kept(state)
        if state.private:
            daemon.ensure(state.runtime, self.runner)
        if tunnels:
            tunnel.ensure(state, self.runner)
        with Virt(*state.uris) as virt:
            yield virt

    def _alive(self, known: LabState) -> tuple[str, ...]:
        with self.connected(known, tunnels=False) as virt:
            return tuple(machine.name for machine in known.machines if virt.state(machine.uuid) in ALIVE)

    def _remove_surplus(self, virt: Virt, known: LabState | None, state: LabState) -> None:
        names = {machine.name for machine in state.machines}
        for machine in known.machines if known else ():
            if machine.name not in names:
                self.console.info(f"{machine.name} is no longer wanted: removed")
                virt.remove(machine.uuid)
                if state.nat:
                    forget_disks(virt, state, machine)
                shutil.rmtree(state.folder(machine), ignore_errors=True)

    def _write_files(self, state: LabState) -> None:
        key_pair(state.key, f"freehold-lab-{state.name}")
        keys = [(machine, host_key(state, machine)) for machine in state.machines]
        write_atomic(state.known_hosts, known_hosts(keys), 0o600)
        write_atomic(state.ssh_config, ssh_config(state), 0o600)

    def _made_ready(self, virt: Virt, state: LabState, machines: Sequence[MachineState]) -> BringUp:
        boot = BringUp(virt, state, machines, runner=self.runner, console=self.console)
        boot.make_ready()
        return boot

    def _undo(self) -> None:
        """Remove a lab that never began to run. It must not hide why."""
        try:
            take_down(self.name, self.runner)
            remove_files(self.name)
        except (FreeholdError, OSError) as exc:
            self.console.warn(f"{exc}; `freehold lab down` removes what is left")

    def down(self, *, abandon: bool = False) -> tuple[str, ...]:
        """Remove the lab: machines, disks, keys, switch, private daemon. Nothing happens where there is none.

        LabError names what could not be removed. With `abandon` that is no error where a libvirt does not
        answer: it is noted for `lab gc`, and returned, a line for each.
        """
        stays: tuple[str, ...] = ()
        with locked(self.name):
            if lab_dir(self.name).is_dir() or runtime_of(self.name).is_dir():
                with self.console.step(f"taking the lab {self.name} down"):
                    stays = take_down(self.name, self.runner, abandon=abandon)
            remove_files(self.name)
        return stays

    def stop(self, names: Sequence[str] = (), *, force: bool = False) -> None:
        """Power machines off (all of them by default); `force` cuts the power."""
        with locked(self.name), self.connected(self.state) as virt:

            def work(machine: MachineState, stop: Event) -> None:
                self._power_off(virt, machine, force, stop)

            each(self._chosen(names), work, doing="stopping")

    def _power_off(self, virt: Virt, machine: MachineState, force: bool, stop: Event) -> None:
        if virt.state(machine.uuid) == "running" and not force:
            virt.shutdown(machine.uuid)
            deadline = time.monotonic() + SHUTDOWN
            while virt.state(machine.uuid) in ("running", "stopping") and time.monotonic() < deadline:
                if stop.wait(0.3):
                    return
        virt.destroy(machine.uuid)

    def start(self, names: Sequence[str] = (), *, deadline: float | None = None) -> None:
        """Start machines that are off (all of them by default) and wait until they are ready.

        `deadline` in seconds; the lab's own where it is left out.
        """
        with locked(self.name):
            state = self.state
            chosen = self._chosen(names)
            with self.connected(state) as virt:
                self._made_ready(virt, state, chosen).run(_until(state, deadline))

    def _chosen(self, names: Sequence[str]) -> tuple[MachineState, ...]:
        state = self.state
        return tuple(state.machine(name) for name in names) if names else state.machines

    def reset(self, names: Sequence[str] = (), *, deadline: float | None = None) -> None:
        """Begin again from the golden image: new disks, the same names, keys and addresses."""
        with locked(self.name):
            state = self.state
            chosen = self._chosen(names)
            with self.connected(state) as virt:
                for machine in chosen:
                    virt.remove(machine.uuid)
                    if state.nat:
                        forget_disks(virt, state, machine)
                    folder = state.folder(machine)
                    for path in (folder / "console.log", *folder.glob("*.qcow2")):
                        path.unlink(missing_ok=True)
                self._made_ready(virt, state, chosen).run(_until(state, deadline))

    def status(self) -> tuple[MachineStatus, ...]:
        """Every machine as it is now."""
        state = self.state
        with self.connected(state) as virt, ThreadPoolExecutor(len(state.machines)) as pool:
            # One that boots or stands still takes as long as it may.
            names = [machine.name for machine in state.machines]
            answers = dict(zip(names, pool.map(self.answers, state.machines), strict=True))
            return tuple(
                machine_status(virt, state, machine, answers[machine.name]) for machine in state.machines
            )

    def console_log(self, machine: str) -> Path:
        """What the machine printed on its serial console since its last start: a file, brought up to date."""
        state = self.state
        found = state.machine(machine)
        if not state.nat:
            return state.console(found)
        with self.connected(state, tunnels=False) as virt:
            return fetch_console(virt, state, found)

    def answers(self, machine: MachineState, timeout: float = 10.0) -> bool:
        """Whether the machine's SSH server answers now."""
        return bool(banner(machine.address, machine.ssh_port, timeout))

    def await_reboot(self, machine: str, *, deadline: float | None = None) -> None:
        """Return when a machine that is restarting is ready again, or DeadlineError; see `start`."""
        state = self.state
        found = state.machine(machine)
        with self.connected(state) as virt:
            since = console_size(fetch_console(virt, state, found))

            def alive() -> str:
                fetch_console(virt, state, found)
                return virt.state(found.uuid)

            wait_ready(
                state,
                found,
                deadline=_until(state, deadline),
                runner=self.runner,
                alive=alive,
                tell=lambda text: self.console.detail(f"{found.name}: {text}"),
                stop=Event(),
                since=since,
            )

    def exec(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        stdin: bytes | str | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command on a machine as the lab's user; see `Runner.run` for the rest."""
        state = self.reached(machine)
        command = ssh_command(state, state.machine(machine), argv)
        return self.runner.run(command, stdin=stdin, timeout=timeout, check=check)


def _until(state: LabState, seconds: float | None) -> float:
    """When machines have to be ready, on time.monotonic()."""
    return time.monotonic() + (state.deadline if seconds is None else seconds)
