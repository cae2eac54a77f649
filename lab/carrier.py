"""What carries a lab's machines: this computer by itself, or libvirts with networks and disks of their own.

A carrier checks that there is room, starts a machine, and says how it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from builder.image import Image, load_image
from builder.spec import ARCHES, MiB
from cloudinit.keys import PublicKey
from freehold.errors import LabError
from freehold.paths import cache_dir
from freehold.process import Runner
from lab import natmachine
from lab.domain import domain_xml
from lab.hypervisors import pool, revive
from lab.kernel import unpacked
from lab.machine import base_size, prepare
from lab.plan import domain_of
from lab.preflight import FIRST_BOOT, OVERHEAD, check_memory, check_ports, check_space, counted
from lab.state import LabState, MachineState
from lab.virt import Virt
from lab.virtnet import free_memory
from lab.virtpasst import why_not_passt
from lab.wire import Wire

# From this version on QEMU finds the switch again when the switch was restarted.
RECONNECTS = (9, 2, 0)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Golden:
    """A golden image as machines start on it: with its kernel unpacked, and the size of its disk in bytes."""

    image: Image
    kernel: Path
    size: int

    @classmethod
    def load(cls, directory: Path, runner: Runner) -> Golden:
        """The image in a directory."""
        image = load_image(directory)
        kernel = unpacked(image.kernel, cache_dir() / "lab" / "kernels", runner)
        return cls(image, kernel, base_size(image.qcow2, runner))


Images = Mapping[Path, Golden]


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
        self, virt: Virt, state: LabState, golden: Images, *, user_key: PublicKey, runner: Runner
    ) -> None:
        self.virt, self.state, self.golden = virt, state, golden
        self.user_key, self.runner = user_key, runner
        self.wire = Wire(state.runtime)
        self.reconnect = virt.qemu_version >= RECONNECTS
        self.passt = False

    def ready(self, cold: Sequence[MachineState], tell: Tell) -> None:
        machines = self.state.machines
        ports = [plug.port(machine.name) for machine in machines for plug in machine.cards]
        self.wire.ensure(ports, self.runner)
        check_memory(cold)
        check_space(cold, self.state.directory)
        check_ports(cold)
        leaving = [machine for machine in cold if self.state.way_out(machine)]
        self.passt = bool(leaving) and self._on_passt(leaving[0], tell)

    def _on_passt(self, machine: MachineState, tell: Tell) -> bool:
        """Whether passt carries machines that may leave; where it does not, QEMU's slirp does."""
        why = "the libvirt is not the lab's own"
        if self.state.private:
            arch = ARCHES[self.golden[self.state.image_of(machine)].image.arch].qemu
            why = why_not_passt(self.virt, self.state.uri, self.state.runtime, arch)
        if why:
            tell(f"no passt ({why}): slirp carries the machines, which reach this computer's own services")
        return not why

    def start(self, machine: MachineState) -> None:
        golden = self.golden[self.state.image_of(machine)]
        base = golden.image.qcow2
        prepare(
            self.state,
            machine,
            base=base,
            user_key=self.user_key,
            runner=self.runner,
            snapshots=self.virt.snapshots(machine.uuid),
        )
        domain = domain_of(
            self.state,
            machine,
            golden.image,
            kernel=golden.kernel,
            socket=self.wire.socket,
            reconnect=self.reconnect,
            passt=self.passt,
        )
        self.virt.define(domain_xml(domain))
        self.virt.start(machine.uuid)

    def alive(self, machine: MachineState) -> str:
        return self.virt.state(machine.uuid)


class LibvirtCarrier:
    """Volumes and networks of system libvirts, here or on other computers."""

    def __init__(
        self, virt: Virt, state: LabState, golden: Images, *, user_key: PublicKey, runner: Runner
    ) -> None:
        self.virt, self.state, self.golden = virt, state, golden
        self.user_key, self.runner = user_key, runner

    def ready(self, cold: Sequence[MachineState], tell: Tell) -> None:
        for hypervisor in self.state.hypervisors:
            mine = [machine for machine in cold if machine.hypervisor == hypervisor.name]
            if not mine:
                continue
            needed = sum(machine.memory + OVERHEAD for machine in mine)
            free = free_memory(self.virt.connection(hypervisor.uri))
            if needed > free:
                raise LabError(
                    f"{hypervisor.uri}: {counted(mine)} {needed // MiB} MiB of memory, "
                    f"{free // MiB} MiB are free",
                    hint="give them less (`memory:` in config/lab.yml), or place some elsewhere",
                )
            revive(self.virt, self.state, hypervisor)
            there = pool(self.virt, self.state, hypervisor)
            images = {path: self.golden[path] for path in map(self.state.image_of, mine)}
            room = FIRST_BOOT * len(mine) + sum(item.image.qcow2.stat().st_size for item in images.values())
            if room > there.free:
                raise LabError(
                    f"{hypervisor.uri}: {counted(mine)} {room // MiB} MiB of disk in {there.path}, "
                    f"{there.free // MiB} MiB are free"
                )
            for golden in images.values():
                tell_there = partial(_tell, tell, hypervisor.uri)
                natmachine.deliver(there, golden.image, golden.kernel, tell_there)

    def start(self, machine: MachineState) -> None:
        golden = self.golden[self.state.image_of(machine)]
        natmachine.prepare(
            self.virt,
            self.state,
            machine,
            golden.image,
            kernel=golden.kernel,
            user_key=self.user_key,
            least=golden.size,
        )
        domain = natmachine.domain(self.state, machine, golden.image, kernel=golden.kernel)
        self.virt.define(domain_xml(domain), self.state.hypervisor(machine).uri)
        self.virt.start(machine.uuid)

    def alive(self, machine: MachineState) -> str:
        natmachine.fetch_console(self.virt, self.state, machine)
        return self.virt.state(machine.uuid)


def _tell(tell: Tell, uri: str, text: str) -> None:
    tell(f"to {uri}: {text}")
