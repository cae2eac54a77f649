"""What can be known before machines start: memory, disk space and addresses of this computer."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from builder.spec import MiB
from freehold.errors import LabError
from lab.state import MachineState

MEMINFO = Path("/proc/meminfo")
# What an emulator takes beside the machine's own memory.
OVERHEAD = 128 * MiB
# What a machine writes until it is ready, and some room to deploy something.
FIRST_BOOT = 512 * MiB


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


def check_ports(machines: Sequence[MachineState]) -> None:
    """LabError where another program listens on an address that a machine needs."""
    for machine in machines:
        for port in (machine.ssh_port, machine.http_port, machine.https_port):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((machine.address, port))
                except OSError as exc:
                    raise _taken(machine, port, exc) from exc


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
