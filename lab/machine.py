"""The files of one machine: its disk over the golden image, its seed, its host key."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from cloudinit.hostkeys import HostKey, generate_host_key
from cloudinit.iso import write_iso
from cloudinit.keys import PublicKey
from freehold.errors import LabError, ProcessError
from freehold.files import new_private_dir, replace_atomically, write_atomic
from freehold.process import Runner
from freehold.secret import Secret
from lab.plan import further_disks
from lab.seeds import seed_files
from lab.state import LabState, MachineState


def key_pair(path: Path, comment: str) -> HostKey:
    """The Ed25519 key pair at `path` and `path.pub`, made where it is missing."""
    public = path.with_name(f"{path.name}.pub")
    if path.is_file() and public.is_file():
        return HostKey(Secret(path.read_text()), public.read_text().strip())
    made = generate_host_key(comment)
    write_atomic(path, made.private.reveal(), 0o600)
    write_atomic(public, f"{made.public}\n")
    return made


def host_key(state: LabState, machine: MachineState) -> HostKey:
    """The machine's SSH host key, known before it boots."""
    folder = new_private_dir(state.folder(machine))
    return key_pair(folder / "host_key", machine.name)


def prepare(
    state: LabState,
    machine: MachineState,
    *,
    base: Path,
    user_key: PublicKey,
    runner: Runner,
    snapshots: Collection[str] = (),
) -> None:
    """Write what is missing of a machine's files; a disk that is there keeps its content.

    `snapshots` are those of the machine, which is off, that libvirt knows. Others stay in a disk when
    libvirt's own files are lost: nobody can go back to them, and they are in the way of new ones.
    """
    folder = new_private_dir(state.folder(machine))
    disk = folder / "disk.qcow2"
    if disk.is_file():
        forget_strays(disk, snapshots, runner)
        _grow(disk, machine.disk, runner)
    else:
        _overlay(base, disk, machine.disk, runner)
    for path, size in further_disks(folder, machine).items():
        if path.is_file():
            forget_strays(path, snapshots, runner)
            _grow(path, size, runner)
        else:
            _empty(path, size, runner)
    files = seed_files(state, machine, host_key=host_key(state, machine), user_key=user_key)
    write_iso(files.files(), folder / "seed.iso")


def base_size(base: Path, runner: Runner) -> int:
    """Bytes of the disk that an image is."""
    return _info(base, runner)["virtual-size"]


def _empty(disk: Path, size: int, runner: Runner) -> None:
    with replace_atomically(disk, mode=0o600) as temporary:
        runner.run(["qemu-img", "create", "-q", "-f", "qcow2", temporary, str(size)], timeout=60)


def _overlay(base: Path, disk: Path, size: int, runner: Runner) -> None:
    """A disk that holds only what differs from `base`; the guest's root grows to `size` on first boot."""
    needed = max(size, _info(base, runner)["virtual-size"])
    try:
        with replace_atomically(disk, mode=0o600) as temporary:
            runner.run(
                [
                    "qemu-img",
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-F",
                    "qcow2",
                    "-b",
                    base,
                    temporary,
                    str(needed),
                ],
                timeout=60,
            )
    except ProcessError as exc:
        raise LabError(f"the disk {disk} cannot be made: {exc.message}", details=exc.details) from exc


def _grow(disk: Path, size: int, runner: Runner) -> None:
    if _info(disk, runner)["virtual-size"] < size:
        runner.run(["qemu-img", "resize", "-q", "-f", "qcow2", disk, str(size)], timeout=60)


def forget_strays(disk: Path, known: Collection[str], runner: Runner) -> None:
    """Delete the snapshots inside of a disk that are not known."""
    found = json.loads(runner.run(["qemu-img", "info", "--output=json", disk], timeout=60).stdout)
    for item in found.get("snapshots", ()):
        if item["name"] not in known:
            runner.run(["qemu-img", "snapshot", "-q", "-d", item["name"], disk], timeout=300)


def _info(disk: Path, runner: Runner) -> dict[str, int]:
    # -U: the disk of a running machine is locked, and only its header is read.
    done = runner.run(["qemu-img", "info", "-U", "--output=json", disk], timeout=60)
    found = json.loads(done.stdout)
    return {"virtual-size": int(found["virtual-size"]), "actual-size": int(found["actual-size"])}


def disk_use(state: LabState, machine: MachineState) -> int:
    """Bytes that the machine's disk takes on this computer."""
    try:
        return (state.folder(machine) / "disk.qcow2").stat().st_blocks * 512
    except OSError:
        return 0
