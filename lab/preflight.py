"""What can be known before machines start: memory, disk space and addresses of this computer."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Collection, Sequence
from dataclasses import astuple
from pathlib import Path

from builder.spec import MiB
from freehold.errors import LabError
from lab.address import addresses, loopback_prefix
from lab.model import LabSpec
from lab.state import MachineState

MEMINFO = Path("/proc/meminfo")
# What an emulator takes beside the machine's own memory.
OVERHEAD = 128 * MiB
# What a machine writes until it is ready, and some room to deploy something.
FIRST_BOOT = 512 * MiB
# So many prefixes are tried: a program that listens on all addresses is on each of them.
PREFIXES = 20


def available_memory(text: str) -> int:
    """Bytes that `/proc/meminfo` says can still be used."""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemAvailable")


def counted(machines: Sequence[MachineState]) -> str:
    """`3 machines need`, or `web-1 needs`."""
    return f"{machines[0].name} needs" if len(machines) == 1 else f"{len(machines)} machines need"


def check_memory(machines: Sequence[MachineState]) -> None:
    """LabError where this computer has too little memory for the machines that are about to start."""
    if not machines:
        return
    needed = sum(machine.memory + OVERHEAD for machine in machines)
    free = available_memory(MEMINFO.read_text())
    if needed > free:
        raise LabError(
            f"{counted(machines)} {needed // MiB} MiB of memory, {free // MiB} MiB are free",
            hint="give them less (`memory:` in config/lab.yml), or take another lab down",
        )


def check_space(machines: Sequence[MachineState], directory: Path) -> None:
    """LabError where the disk that holds `directory` has no room for what a first boot writes."""
    needed = FIRST_BOOT * len(machines)
    free = shutil.disk_usage(directory).free
    if machines and needed > free:
        raise LabError(
            f"{counted(machines)} {needed // MiB} MiB of disk in {directory}, {free // MiB} MiB are free",
            hint="make room, or set FREEHOLD_STATE to a directory on a larger disk",
        )


def free_prefix(spec: LabSpec, taken: Collection[str]) -> str:
    """The loopback prefix for a new lab: one where nothing listens yet, as a namesake of another user's does.

    Where all that are tried are in use it is the lab's first, and `check_ports` says by what.
    """
    passed = set(taken)
    for _ in range(PREFIXES):
        prefix = loopback_prefix(spec.name, passed)
        places = (addresses(spec.name, prefix, item, "").loopback for item in range(len(spec.machines)))
        if not any(
            (trouble := _bound(place, port)) is not None and trouble.errno == errno.EADDRINUSE
            for place in places
            for port in astuple(spec.ports)
        ):
            return prefix
        passed.add(prefix)
    return loopback_prefix(spec.name, taken)


def check_ports(machines: Sequence[MachineState]) -> None:
    """LabError where another program listens on an address that a machine needs."""
    for machine in machines:
        for port in (machine.ssh_port, machine.http_port, machine.https_port):
            if (trouble := _bound(machine.address, port)) is not None:
                raise _taken(machine, port, trouble) from trouble


def _bound(address: str, port: int) -> OSError | None:
    """Why a program of this user could not listen there, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as exc:
            return exc
    return None


def _taken(machine: MachineState, port: int, exc: OSError) -> LabError:
    place = f"{machine.address}:{port}"
    if exc.errno == errno.EADDRINUSE:
        return LabError(
            f"{machine.name}: {place} is in use by another program",
            hint="`freehold lab gc` removes leftovers; `ports:` in config/lab.yml picks others",
        )
    if exc.errno == errno.EACCES:
        return LabError(
            f"{machine.name}: this user may not listen on {place}",
            hint="ports below 1024 need net.ipv4.ip_unprivileged_port_start",
        )
    return LabError(f"{machine.name}: {place} cannot be used: {exc.strerror}")
