"""From what is wanted to what will be: addresses, identifiers and domains. No effects."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from builder.image import Image
from builder.spec import ARCHES
from cloudinit.profile import HostProfile
from lab.address import addresses, numbering
from lab.bootpath import kernel_arguments
from lab.domain import Accelerator, DirectKernel, Domain, Wire
from lab.model import LabSpec, MachineSpec, guest_ports
from lab.natnet import management_address
from lab.networks import NetworkState, planned, plugged
from lab.state import Hypervisor, LabState, MachineState
from lab.topology import LAN
from lab.usernet import Management


@dataclass(frozen=True)
class Place:
    """Where a lab is on this computer and what it runs on."""

    directory: Path
    runtime: Path
    prefix: str
    uri: str
    private: bool
    accelerator: Accelerator
    image: Path
    hypervisors: tuple[Hypervisor, ...] = ()
    token: str = ""
    images: Mapping[str, str] = field(default_factory=dict)


def plan_state(
    spec: LabSpec,
    place: Place,
    known: Mapping[str, MachineState],
    networks: Sequence[NetworkState] = (),
) -> LabState:
    """The lab's state: machines that were there keep number, identity, disk size, own ports and cards.

    `networks` are the further ones that the lab has.
    """
    numbers = numbering(spec, {name: machine.number for name, machine in known.items()})
    further = planned(spec.name, spec.networks, networks)
    plugs = plugged(
        spec.name,
        further,
        [(machine, numbers[machine.name]) for machine in spec.machines],
        {name: machine.cards for name, machine in known.items()},
    )
    profile_ports = guest_ports(spec.profile or HostProfile())
    machines = []
    for machine in spec.machines:
        number = numbers[machine.name]
        where = addresses(spec.name, place.prefix, number, machine.name)
        before = known.get(machine.name)
        there = _placed(machine, before, place)
        management = management_address(there, number) if there else ""
        # On this computer's own network a machine's ports are its own.
        direct = there is not None and not there.remote
        guest = before.guest if before else machine.guest or profile_ports
        machines.append(
            MachineState(
                host=machine.host,
                name=machine.name,
                number=number,
                address=management if direct else where.loopback,
                ssh_port=guest.ssh if direct else spec.ports.ssh,
                http_port=guest.http if direct else spec.ports.http,
                https_port=guest.https if direct else spec.ports.https,
                lan=where.lan if LAN in machine.networks else "",
                roles=machine.roles,
                uuid=before.uuid if before else machine_uuid(place.directory, machine.name, place.token),
                management_mac=where.management_mac,
                lan_mac=where.lan_mac,
                cpus=machine.cpus,
                memory=machine.memory,
                disk=max(machine.disk, before.disk if before else 0),
                disks=_grown(machine.disks, before.disks if before else ()),
                hypervisor=there.name if there else "",
                management=management,
                image=before.image if before else place.images.get(machine.name, ""),
                plugs=plugs[machine.name],
                guest=guest,
            )
        )
    return LabState(
        name=spec.name,
        directory=place.directory,
        runtime=place.runtime,
        prefix=place.prefix,
        user=spec.user,
        uri=place.uri,
        private=place.private,
        accelerator=place.accelerator,
        image=place.image,
        internet=spec.internet,
        boot=spec.boot,
        machines=tuple(machines),
        hypervisors=place.hypervisors,
        token=place.token,
        networks=further,
        deadline=spec.deadline,
    )


def readdressed(spec: LabSpec, state: LabState) -> LabState:
    """The state with the addresses that follow from its hypervisors' networks."""
    place = Place(
        directory=state.directory,
        runtime=state.runtime,
        prefix=state.prefix,
        uri=state.uri,
        private=state.private,
        accelerator="kvm" if state.accelerator == "kvm" else "tcg",
        image=state.image,
        hypervisors=state.hypervisors,
        token=state.token,
    )
    return plan_state(spec, place, {machine.name: machine for machine in state.machines}, state.networks)


def held(state: LabState, known: LabState, alive: Collection[str]) -> LabState:
    """The planned state with all that a lab which is there cannot change.

    Disks know the user that they began with. Machines that are `alive` (their names) answer on the ports that
    they have, and the lab goes on as it began.
    """
    ports = {
        machine.name: {name: getattr(machine, name) for name in ("ssh_port", "http_port", "https_port")}
        for machine in known.machines
        if machine.name in alive
    }
    machines = tuple(replace(machine, **ports.get(machine.name, {})) for machine in state.machines)
    kept = replace(state, user=known.user, machines=machines)
    return replace(kept, boot=known.boot, internet=known.internet) if ports else kept


def differing(wanted: LabState, kept: LabState) -> tuple[str, ...]:
    """What `held` did not let change, by the keys of config/lab.yml and host.yml."""
    return (
        *(["ports"] if wanted.machines != kept.machines else []),
        *(["users"] if wanted.user != kept.user else []),
        *(name for name in ("boot", "internet") if getattr(wanted, name) != getattr(kept, name)),
    )


def _placed(machine: MachineSpec, before: MachineState | None, place: Place) -> Hypervisor | None:
    """Where a machine runs: where it was, else where it is wanted, else on the first hypervisor."""
    if not place.hypervisors:
        return None
    name = before.hypervisor if before else machine.hypervisor
    return next((item for item in place.hypervisors if item.name == name), place.hypervisors[0])


def _grown(wanted: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Further disks stay once they are there, and never shrink."""
    return tuple(max(sizes) for sizes in zip_longest(wanted, before, fillvalue=0))


def machine_uuid(directory: Path, name: str, token: str = "") -> str:
    """The machine's identifier: the same for the same lab directory, name and token."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"freehold:{directory}#{name}{token}"))


def domain_name(lab: str, machine: str) -> str:
    """What libvirt calls the machine."""
    return f"freehold-{lab}-{machine}"


def further_disks(folder: Path, machine: MachineState) -> dict[Path, int]:
    """The files of a machine's further disks with their sizes."""
    return {folder / f"data-{number}.qcow2": size for number, size in enumerate(machine.disks, 1)}


def domain_of(
    state: LabState,
    machine: MachineState,
    image: Image,
    *,
    kernel: Path,
    socket: Callable[[str], Path],
    reconnect: bool,
    passt: bool = False,
) -> Domain:
    """The domain of a machine as the state describes it.

    `kernel` is the image's own or what `kernel.unpacked` made of it; `socket` is where the switch has a port;
    `reconnect`: see `domain.wire_netdev`; `passt`: whether it carries machines that may leave.
    """
    numbers = {network.name: network.number for network in state.networks}
    folder = state.folder(machine)
    direct = state.boot == "kernel"
    trimmed = kernel_arguments(emulated=state.accelerator == "tcg")
    return Domain(
        name=domain_name(state.name, machine.name),
        uuid=machine.uuid,
        lab=state.name,
        directory=state.directory,
        accelerator="kvm" if state.accelerator == "kvm" else "tcg",
        arch=ARCHES[image.arch].qemu,
        cpus=machine.cpus,
        memory=machine.memory,
        disk=folder / "disk.qcow2",
        disks=tuple(further_disks(folder, machine)),
        base=image.qcow2,
        seed=folder / "seed.iso",
        console=state.console(machine),
        management=Management(
            mac=machine.management_mac,
            loopback=machine.address,
            forwards=machine.forwards,
            internet=state.way_out(machine),
            passt=passt and state.way_out(machine),
        ),
        wires=tuple(
            Wire(plug.mac, socket(plug.port(machine.name)))
            if plug.network == LAN
            else Wire(plug.mac, socket(plug.port(machine.name)), plug.device, numbers[plug.network] + 1)
            for plug in machine.cards
        ),
        kernel=DirectKernel(kernel, image.initrd, f"{image.cmdline} {trimmed}") if direct else None,
        nvram=None if direct else folder / "nvram.fd",
        as_root="/system" in state.uri,
        reconnect=reconnect,
    )
