"""A machine whose disks are volumes of a libvirt: the image there, its disk over it, seed, console."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from builder.image import Image
from cloudinit.iso import write_iso
from cloudinit.keys import PublicKey
from freehold.console import size
from lab.domain import Card, DirectKernel, Domain
from lab.hypervisors import pool
from lab.machine import host_key
from lab.natnet import base_name, lan_name
from lab.plan import domain_name, domain_of
from lab.seeds import seed_files
from lab.state import LabState, MachineState
from lab.virt import Virt
from lab.virtpool import Pool


def image_volumes(image: Image, kernel: Path) -> dict[str, Path]:
    """What of an image a hypervisor needs, by the names of the volumes."""
    own = hashlib.sha256(image.manifest.read_bytes()).hexdigest()[:16]
    return {
        f"base-{own}": image.qcow2,
        f"kernel-{own}-{kernel.suffix[1:]}": kernel,
        f"initrd-{own}": image.initrd,
    }


def disk_volumes(machine: MachineState) -> dict[str, int]:
    """The machine's disks with their sizes, the root first."""
    further = {f"{machine.name}-data-{number}": size for number, size in enumerate(machine.disks, 1)}
    return {f"{machine.name}-disk": machine.disk, **further}


def seed_volume(machine: MachineState) -> str:
    """The volume with the machine's seed."""
    return f"{machine.name}-seed"


def console_volume(machine: MachineState) -> str:
    """The file that the machine's console is written to, beside its disks."""
    return f"{machine.name}-console.log"


def deliver(there: Pool, image: Image, kernel: Path, tell: Callable[[str], None]) -> None:
    """Upload what is missing of an image. A mark is set last, so that half of an upload is none."""
    present = there.names()
    for name, path in image_volumes(image, kernel).items():
        if f"{name}-whole" in present:
            continue
        tell(f"{path.name}, {size(path.stat().st_size)}")
        there.upload(name, path)
        there.create(f"{name}-whole", 512, kind="raw")
    # What an upload is, a raw file or qcow2, libvirt finds out when it looks again.
    there.ensure()


def prepare(
    virt: Virt,
    state: LabState,
    machine: MachineState,
    image: Image,
    *,
    kernel: Path,
    user_key: PublicKey,
    least: int,
) -> None:
    """Make what is missing of a machine's volumes; disks that are there keep their content.

    `least` is the least that the root disk has: the image's own.
    """
    there = pool(virt, state, state.hypervisor(machine))
    present = there.names()
    base, *_ = image_volumes(image, kernel)
    for number, (name, wanted) in enumerate(disk_volumes(machine).items()):
        if name in present:
            there.grow(name, wanted)
        else:
            over = None if number else there.path / base
            there.create(name, wanted if number else max(wanted, least), base=over)
    files = seed_files(state, machine, host_key=host_key(state, machine), user_key=user_key)
    with TemporaryDirectory(prefix="freehold-seed-") as folder:
        path = Path(folder) / "seed.iso"
        write_iso(files.files(), path)
        there.upload(seed_volume(machine), path)
    there.delete(console_volume(machine))


def forget_disks(virt: Virt, state: LabState, machine: MachineState) -> None:
    """Delete a machine's disks and console."""
    there = pool(virt, state, state.hypervisor(machine))
    there.ensure()
    for name in (*disk_volumes(machine), seed_volume(machine), console_volume(machine)):
        there.delete(name)


def domain(state: LabState, machine: MachineState, image: Image, *, kernel: Path) -> Domain:
    """The domain as its hypervisor is told it."""
    hypervisor = state.hypervisor(machine)
    place = hypervisor.pool
    base, kernel_name, initrd = image_volumes(image, kernel)
    disk, *further = disk_volumes(machine)
    here = domain_of(
        replace(state, accelerator=hypervisor.accelerator),
        machine,
        image,
        kernel=kernel,
        socket=Path,
        reconnect=False,
    )
    return replace(
        here,
        name=f"{domain_name(state.name, machine.name)}-{state.token}",
        token=state.token,
        disk=place / disk,
        disks=tuple(place / name for name in further),
        base=place / base,
        seed=place / seed_volume(machine),
        console=place / console_volume(machine),
        kernel=here.kernel and DirectKernel(place / kernel_name, place / initrd, here.kernel.cmdline),
        management=Card("management", machine.management_mac, base_name(state.name, state.token), alone=True),
        wires=tuple(
            Card(plug.network, plug.mac, lan_name(state, network=plug.network)) for plug in machine.cards
        ),
        nvram=None,
        as_root=False,
    )


def volume_use(virt: Virt, state: LabState, machine: MachineState) -> int:
    """Bytes that the machine's disk takes on its hypervisor."""
    return pool(virt, state, state.hypervisor(machine)).used(next(iter(disk_volumes(machine))))


def fetch_console(virt: Virt, state: LabState, machine: MachineState) -> Path:
    """The file here with what the machine has printed so far; its console is on the hypervisor."""
    path = state.console(machine)
    if state.nat:
        have = path.stat().st_size if path.is_file() else 0
        more = pool(virt, state, state.hypervisor(machine)).read(console_volume(machine), have)
        if more:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as stream:
                stream.write(more)
    return path
