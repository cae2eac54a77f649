"""What a lab has become: kept as JSON beside its keys and disks, read by everything that uses it.

<state>/labs/<name>/lab.json         this
                    id_ed25519       the lab's own SSH key
                    known_hosts      the machines' host keys, known before they boot
                    ssh_config       for `ssh -F`, or `Include`
                    machines/<m>/    disk.qcow2, seed.iso, host_key, console.log
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freehold.errors import LabError
from freehold.files import write_atomic
from freehold.paths import runtime_dir, state_dir
from lab.locks import lock_file
from lab.model import GuestPorts
from lab.networks import NetworkState, Plug, leads_out
from lab.places import lab_dir, lab_runtime, labs_dir, list_labs
from lab.topology import LAN

FORMAT = 1


@dataclass(frozen=True)
class MachineState:
    """A machine of a lab. `host` is what the deploy file calls it, `name` its own host name.

    `address` is on this computer's loopback, with three ports that stand for its own, `guest`; `lan` is its
    address in the network of that name, if it is on it, and `plugs` are all of its cards between the machines
    (none in a state from before there were further networks). `memory`, `disk` and further `disks` in bytes.
    With libvirt's networks `hypervisor` is where it runs and `management` its address there, by which it is
    reached. `image` is the directory of a golden image where it does not run the lab's.
    """

    host: str
    name: str
    number: int
    address: str
    ssh_port: int
    http_port: int
    https_port: int
    lan: str
    roles: tuple[str, ...]
    uuid: str
    management_mac: str
    lan_mac: str
    cpus: int
    memory: int
    disk: int
    disks: tuple[int, ...] = ()
    hypervisor: str = ""
    management: str = ""
    image: str = ""
    plugs: tuple[Plug, ...] = ()
    guest: GuestPorts = field(default_factory=GuestPorts)

    @property
    def forwards(self) -> tuple[tuple[int, int], ...]:
        """(port at its address here, port of the machine itself)."""
        here = (self.ssh_port, self.http_port, self.https_port)
        return tuple(zip(here, astuple(self.guest), strict=True))

    @property
    def cards(self) -> tuple[Plug, ...]:
        """Its cards in the networks between machines, in the order in which it names them."""
        return self.plugs or (Plug(LAN, self.lan, self.lan_mac),)


@dataclass(frozen=True)
class Hypervisor:
    """A system libvirt that runs machines of a lab: `subnet` of their management network, `pool` of disks."""

    name: str
    uri: str
    accelerator: str
    subnet: str
    pool: Path

    @property
    def remote(self) -> bool:
        """Whether it is on another computer, and its machines are reached through a tunnel."""
        return bool(urlsplit(self.uri).hostname)


@dataclass(frozen=True)
class LabState:
    """A lab that was brought up. `uri` is its libvirt, `private` whether the lab started it itself.

    `deadline` is how long, in seconds, machines may take until they are ready. With `hypervisors` their
    libvirts hold networks and disks too, all named with the lab's `token`, as labs of several computers may
    meet on one.
    """

    name: str
    directory: Path
    runtime: Path
    prefix: str
    user: str
    uri: str
    private: bool
    accelerator: str
    image: Path
    internet: bool
    boot: str
    machines: tuple[MachineState, ...]
    hypervisors: tuple[Hypervisor, ...] = ()
    token: str = ""
    networks: tuple[NetworkState, ...] = ()
    deadline: float = 600.0

    @property
    def nat(self) -> bool:
        """Whether libvirt's own networks and disks carry the lab."""
        return bool(self.hypervisors)

    @property
    def uris(self) -> tuple[str, ...]:
        """Every libvirt that has something of the lab."""
        return tuple(dict.fromkeys(item.uri for item in self.hypervisors)) or (self.uri,)

    def image_of(self, machine: MachineState) -> Path:
        """The golden image that the machine's disk began with."""
        return Path(machine.image) if machine.image else self.image

    def way_out(self, machine: MachineState) -> bool:
        """Whether the machine reaches the internet."""
        return self.internet and leads_out(self.networks, machine.cards)

    def hypervisor(self, machine: MachineState) -> Hypervisor:
        """Where the machine runs, in a lab with hypervisors."""
        return next(item for item in self.hypervisors if item.name == machine.hypervisor)

    def on(self, hypervisor: Hypervisor) -> tuple[MachineState, ...]:
        """The machines that run there."""
        return tuple(item for item in self.machines if item.hypervisor == hypervisor.name)

    @property
    def key(self) -> Path:
        """The private SSH key that every machine accepts for `user`."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The machines' host keys under `[address]:port`."""
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F` or an `Include` line."""
        return self.directory / "ssh_config"

    def machine(self, name: str) -> MachineState:
        """The machine for that host of the deploy file, or of that name."""
        for match in ("host", "name"):
            for machine in self.machines:
                if getattr(machine, match) == name:
                    return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise LabError(f"the lab {self.name} has no machine {name!r}", hint=f"it has {known}")

    def folder(self, machine: MachineState) -> Path:
        """Where a machine's own files are."""
        return self.directory / "machines" / machine.name

    def console(self, machine: MachineState) -> Path:
        """What the machine printed on its serial console since its first start."""
        return self.folder(machine) / "console.log"


def save_state(state: LabState) -> None:
    """Write the state, whole or not at all."""
    plain = asdict(state)
    text = json.dumps({"format": FORMAT, **plain}, indent=2, default=str)
    write_atomic(state.directory / "lab.json", f"{text}\n", 0o600)


def load_state(name: str) -> LabState:
    """The lab of that name; LabError where there is none."""
    path = lab_dir(name) / "lab.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as exc:
        if path.parent.is_dir():
            raise LabError(
                f"the lab {name} was broken off before it had a machine",
                hint="`freehold lab up` begins again, `freehold lab down` removes it",
            ) from exc
        known = ", ".join(list_labs())
        raise LabError(
            f"there is no lab {name!r}",
            hint=f"`--lab NAME`; there are {known}" if known else "`freehold lab up` makes one",
        ) from exc
    except ValueError as exc:
        raise _unreadable(path, str(exc)) from exc
    return _restored(found, path)


def _restored(found: Any, path: Path) -> LabState:
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise _unreadable(path, "it was written by another version")
    try:
        machines = tuple(
            MachineState(
                **item
                | {name: tuple(item.get(name, ())) for name in ("roles", "disks")}
                | {"plugs": tuple(Plug(**plug) for plug in item.get("plugs", ()))}
                | {"guest": GuestPorts(**item.get("guest", {}))}
            )
            for item in found.pop("machines")
        )
        networks = tuple(NetworkState(**item) for item in found.pop("networks", ()))
        for name in ("directory", "runtime", "image"):
            found[name] = Path(found[name])
        hypervisors = tuple(
            Hypervisor(**{**item, "pool": Path(item["pool"])}) for item in found.pop("hypervisors", ())
        )
        return LabState(**found, machines=machines, hypervisors=hypervisors, networks=networks)
    except (KeyError, TypeError) as exc:
        raise _unreadable(path, str(exc)) from exc


def _unreadable(path: Path, why: str) -> LabError:
    return LabError(
        f"{path} cannot be read: {why}", hint="`freehold lab down` removes the lab, then bring it up again"
    )


def taken_prefixes(but: str) -> frozenset[str]:
    """The loopback prefixes of all other labs."""
    found = set()
    for name in list_labs():
        if name != but and (lab_dir(name) / "lab.json").is_file():
            # A lab that cannot be read does not stop another one; its ports are checked before use.
            with suppress(LabError):
                found.add(load_state(name).prefix)
    return frozenset(found)


def runtime_of(name: str) -> Path:
    """The lab's runtime directory: where it was when the lab was made, whatever the environment says now."""
    try:
        return load_state(name).runtime
    except LabError:
        return lab_runtime(name)


def remove_files(name: str) -> None:
    """Remove all that a lab has on disk, its lock last; to be called with the lock held."""
    for path in (runtime_of(name), lab_dir(name)):
        if path.exists():
            shutil.rmtree(path)
    lock_file(name).unlink(missing_ok=True)
    for folder in (labs_dir(), state_dir(), runtime_dir()):
        with suppress(OSError):
            folder.rmdir()
