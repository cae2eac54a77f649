"""A lab and what can be done with it.

lab = Lab("shop", runner=runner, console=console)
state = lab.up(spec)        # machines run, SSH answers with known keys, cloud-init is done
lab.exec("web-1", ["docker", "ps"])
lab.down()                  # nothing is left, and that was verified
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event

from builder.image import Image, build_image, load_image
from builder.spec import ImageSpec
from cloudinit.keys import parse_public_key
from freehold.console import Console, duration
from freehold.errors import FreeholdError, LabError
from freehold.files import new_private_dir, write_atomic
from freehold.process import Completed, Runner
from lab import accelerator, daemon, sweep
from lab.address import loopback_prefix
from lab.domain import domain_xml
from lab.machine import host_key, key_pair, prepare
from lab.model import LabSpec
from lab.parallel import each
from lab.plan import Place, domain_of, plan_state
from lab.preflight import check_memory, check_ports
from lab.seeds import known_hosts
from lab.ssh import ssh_command, ssh_config
from lab.state import (
    LabState,
    MachineState,
    lab_dir,
    lab_runtime,
    load_state,
    locked,
    remove_files,
    save_state,
    taken_prefixes,
)
from lab.virt import ABSENT, ALIVE, Virt
from lab.wait import wait_ready
from lab.wire import Wire

SHUTDOWN = 90.0


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
        last lines; the machines are left as they are then, to be looked at.
        """
        began = time.monotonic()
        with locked(self.name):
            known = self.state if (lab_dir(self.name) / "lab.json").is_file() else None
            image = self._image(spec, known)
            state = self._plan(spec, known, image)
            with self._connected(state) as virt:
                self._remove_surplus(virt, known, state)
                self._write_files(state)
                Wire(state.runtime).ensure([machine.name for machine in state.machines], self.runner)
                self._bring_up(virt, state, state.machines, image, deadline=began + spec.deadline)
        self.console.success(
            f"the lab {state.name} is up: {len(state.machines)} machines in "
            f"{duration(time.monotonic() - began)}"
        )
        return state

    def _image(self, spec: LabSpec, known: LabState | None) -> Image:
        wanted = (
            load_image(spec.image)
            if spec.image is not None
            else build_image(
                ImageSpec(suite=spec.suite, profile=spec.profile), runner=self.runner, console=self.console
            )
        )
        if known is None or known.image == wanted.directory:
            return wanted
        # The disks are written over the image that they began with.
        self.console.warn(
            f"the lab {spec.name} keeps its image; `freehold lab down` and `up` put it on the new one"
        )
        return load_image(known.image)

    def _plan(self, spec: LabSpec, known: LabState | None, image: Image) -> LabState:
        directory = new_private_dir(lab_dir(self.name))
        runtime = new_private_dir(lab_runtime(self.name))
        if known is not None and not spec.uri:
            connection = daemon.Connection(known.uri, known.private)
        else:
            connection = daemon.find(runtime, uri=spec.uri, environ=self.environ)
        choice = accelerator.choose(self.runner)
        if choice.accelerator == "tcg":
            self.console.info(f"no KVM ({choice.reason}): the machines are emulated, which is slower")
        place = Place(
            directory=directory,
            runtime=runtime,
            prefix=known.prefix if known else loopback_prefix(self.name, taken_prefixes(self.name)),
            uri=connection.uri,
            private=connection.private,
            accelerator=choice.accelerator,
            image=image.directory,
        )
        state = plan_state(
            spec, place, {machine.name: machine for machine in known.machines} if known else {}
        )
        save_state(state)
        return state

    @contextmanager
    def _connected(self, state: LabState) -> Iterator[Virt]:
        if state.private:
            daemon.ensure(state.runtime, self.runner)
        with Virt(state.uri) as virt:
            yield virt

    def _remove_surplus(self, virt: Virt, known: LabState | None, state: LabState) -> None:
        names = {machine.name for machine in state.machines}
        for machine in known.machines if known else ():
            if machine.name not in names:
                self.console.info(f"{machine.name} is no longer wanted: removed")
                virt.remove(machine.uuid)
                for path in state.folder(machine).iterdir():
                    path.unlink()
                state.folder(machine).rmdir()

    def _write_files(self, state: LabState) -> None:
        key_pair(state.key, f"freehold-lab-{state.name}")
        keys = [(machine, host_key(state, machine)) for machine in state.machines]
        write_atomic(state.known_hosts, known_hosts(keys), 0o600)
        write_atomic(state.ssh_config, ssh_config(state), 0o600)

    def _bring_up(
        self,
        virt: Virt,
        state: LabState,
        machines: Sequence[MachineState],
        image: Image,
        *,
        deadline: float,
    ) -> None:
        states = {machine.name: virt.state(machine.uuid) for machine in machines}
        cold = [machine for machine in machines if states[machine.name] not in ALIVE]
        for machine in machines:
            if states[machine.name] == "crashed":
                virt.destroy(machine.uuid)
                cold.append(machine)
        check_memory(cold)
        check_ports(cold)
        public = parse_public_key(state.key.with_name("id_ed25519.pub").read_text())
        reconnect = virt.qemu_version >= (9, 2, 0)
        names = [machine.name for machine in machines]
        wire = Wire(state.runtime)
        with self.console.board(f"lab {state.name}", names) as board:

            def work(machine: MachineState, stop: Event) -> None:
                if machine in cold:
                    board.update(machine.name, "disk and seed")
                    prepare(state, machine, base=image.qcow2, user_key=public, runner=self.runner)
                    domain = domain_of(
                        state, machine, image, socket=wire.socket(machine.name), reconnect=reconnect
                    )
                    virt.define(domain_xml(domain))
                    virt.start(machine.uuid)
                elif states[machine.name] == "paused":
                    virt.resume(machine.uuid)
                wait_ready(
                    state,
                    machine,
                    deadline=deadline,
                    runner=self.runner,
                    alive=lambda: virt.state(machine.uuid),
                    tell=lambda text: board.update(machine.name, text),
                    stop=stop,
                )
                board.done(machine.name, f"ready at {machine.address}")

            each(
                machines,
                work,
                doing="bringing the lab up",
                failed=lambda machine, error: board.fail(machine.name, str(error)),
            )

    def down(self) -> None:
        """Remove the lab: machines, disks, keys, switch, private daemon. Nothing happens where there is none.

        LabError names what could not be removed.
        """
        with locked(self.name):
            if lab_dir(self.name).is_dir() or lab_runtime(self.name).is_dir():
                with self.console.step(f"taking the lab {self.name} down"):
                    self._take_down()
            remove_files(self.name)

    def _take_down(self) -> None:
        runtime = lab_runtime(self.name)
        try:
            state: LabState | None = self.state
        except LabError:
            state = None
        trouble: list[str] = []
        if state is not None:
            try:
                self._remove_machines(state)
            except FreeholdError as exc:
                trouble.append(str(exc))
        for end in (partial(daemon.end, runtime), Wire(runtime).end):
            try:
                end()
            except LabError as exc:
                trouble.append(str(exc))
        left = sweep.finish(sweep.processes([lab_dir(self.name), runtime]))
        trouble += [f"process {process.pid} ({process.name}) does not end" for process in left]
        if trouble and (left or state is None or not state.private):
            raise LabError(f"the lab {self.name} is not gone", details=trouble)

    def _remove_machines(self, state: LabState) -> None:
        if state.private and not (state.runtime / "virt").is_dir():
            return
        with self._connected(state) as virt:
            mine = [item for item in virt.owned() if item.directory == str(state.directory)]
            for item in mine:
                virt.remove(item.uuid)
            still = [item.name for item in mine if virt.state(item.uuid) != ABSENT]
        if still:
            raise LabError(f"libvirt still has {', '.join(still)}")

    def stop(self, names: Sequence[str] = (), *, force: bool = False) -> None:
        """Power machines off (all of them by default); `force` cuts the power."""
        with locked(self.name), self._connected(self.state) as virt:

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

    def start(self, names: Sequence[str] = (), *, deadline: float = 600.0) -> None:
        """Start machines that are off (all of them by default) and wait until they are ready."""
        with locked(self.name):
            state = self.state
            chosen = self._chosen(names)
            image = load_image(state.image)
            with self._connected(state) as virt:
                Wire(state.runtime).ensure([machine.name for machine in state.machines], self.runner)
                self._bring_up(virt, state, chosen, image, deadline=time.monotonic() + deadline)

    def _chosen(self, names: Sequence[str]) -> tuple[MachineState, ...]:
        state = self.state
        return tuple(state.machine(name) for name in names) if names else state.machines

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
        state = self.state
        command = ssh_command(state, state.machine(machine), argv)
        return self.runner.run(command, stdin=stdin, timeout=timeout, check=check)
