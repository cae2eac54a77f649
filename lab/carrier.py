"""What carries a lab's machines: this computer by itself, or libvirts with networks and disks of their own.

A carrier checks that there is room, starts a machine, and says how it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from builder.image import Image
from builder.spec import MiB
from cloudinit.keys import PublicKey
from freehold.errors import LabError
from freehold.process import Runner
from lab import natmachine
from lab.domain import domain_xml
from lab.hypervisors import pool
from lab.machine import base_size, prepare
from lab.plan import domain_of
from lab.preflight import FIRST_BOOT, OVERHEAD, check_memory, check_ports, check_space
from lab.state import LabState, MachineState
from lab.virt import Virt
from lab.virtnet import free_memory
from lab.wire import Wire

# From this version on QEMU finds the switch again when the switch was restarted.
RECONNECTS = (9, 2, 0)

Tell = Callable[[str], None]


class Carrier(Protocol):
    """How machines of one lab are started and watched."""

    def ready(self, cold: Sequence[MachineState], tell: Tell) -> None:
        """LabError where there is no room for machines that are about to start; else make all ready."""

    def start(self, machine: MachineState) -> None:
        """Make what is missing of a machine and start it."""

    def alive(self, machine: MachineState) -> str:
        """Its state in libvirt; its console log is up to date afterwards."""


class OwnCarrier:
    """Files below the lab's directory, user-mode networks and the lab's switch."""

    def __init__(
        self, virt: Virt, state: LabState, image: Image, *, kernel: Path, user_key: PublicKey, runner: Runner
    ) -> None:
        self.virt, self.state, self.image = virt, state, image
        self.kernel, self.user_key, self.runner = kernel, user_key, runner
        self.wire = Wire(state.runtime)
        self.reconnect = virt.qemu_version >= RECONNECTS

    def ready(self, cold: Sequence[MachineState], tell: Tell) -> None:
        self.wire.ensure([machine.name for machine in self.state.machines], self.runner)
        check_memory(cold)
        check_space(cold, self.state.directory)
        check_ports(cold)

    def start(self, machine: MachineState) -> None:
        prepare(self.state, machine, base=self.image.qcow2, user_key=self.user_key, runner=self.runner)
        domain = domain_of(
            self.state,
            machine,
            self.image,
            kernel=self.kernel,
            socket=self.wire.socket(machine.name),
            reconnect=self.reconnect,
        )
        self.virt.define(domain_xml(domain))
        self.virt.start(machine.uuid)

    def alive(self, machine: MachineState) -> str:
        return self.virt.state(machine.uuid)


class LibvirtCarrier:
    """Volumes and networks of system libvirts, here or on other computers."""

    def __init__(
        self, virt: Virt, state: LabState, image: Image, *, kernel: Path, user_key: PublicKey, runner: Runner
    ) -> None:
        self.virt, self.state, self.image = virt, state, image
        self.kernel, self.user_key, self.runner = kernel, user_key, runner
        self.size = 0

    def ready(self, cold: Sequence[MachineState], tell: Tell) -> None:
        self.size = base_size(self.image.qcow2, self.runner)
        for hypervisor in self.state.hypervisors:
            mine = [machine for machine in cold if machine.hypervisor == hypervisor.name]
            if not mine:
                continue
            needed = sum(machine.memory + OVERHEAD for machine in mine)
            free = free_memory(self.virt.connection(hypervisor.uri))
            if needed > free:
                raise LabError(
                    f"{hypervisor.uri}: {len(mine)} machines need {needed // MiB} MiB of memory, "
                    f"{free // MiB} MiB are free",
                    hint="give them less (`memory:` in config/lab.yml), or place some elsewhere",
                )
            there = pool(self.virt, self.state, hypervisor)
            room = FIRST_BOOT * len(mine) + self.image.qcow2.stat().st_size
            if room > there.free:
                raise LabError(
                    f"{hypervisor.uri}: {len(mine)} machines need {room // MiB} MiB of disk in {there.path}, "
                    f"{there.free // MiB} MiB are free"
                )
            natmachine.deliver(
                there,
                self.image,
                self.kernel,
                lambda text, uri=hypervisor.uri: tell(f"to {uri}: {text}"),  # type: ignore[misc]
            )

    def start(self, machine: MachineState) -> None:
        natmachine.prepare(
            self.virt,
            self.state,
            machine,
            self.image,
            kernel=self.kernel,
            user_key=self.user_key,
            least=self.size,
        )
        domain = natmachine.domain(self.state, machine, self.image, kernel=self.kernel)
        self.virt.define(domain_xml(domain), self.state.hypervisor(machine).uri)
        self.virt.start(machine.uuid)

    def alive(self, machine: MachineState) -> str:
        natmachine.fetch_console(self.virt, self.state, machine)
        return self.virt.state(machine.uuid)
