"""Leftovers of runs that crashed: machines in libvirt and processes whose lab is gone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import LabError, LockedError
from freehold.paths import runtime_dir
from freehold.process import Runner
from lab import abandoned, daemon, runtime, sweep
from lab.abandoned import Abandoned
from lab.locks import locked
from lab.natnet import POOLS, base_name
from lab.places import labs_dir
from lab.state import remove_files
from lab.sweep import Process
from lab.virt import Owned, Virt
from lab.virtnet import Networks, OwnedNetwork
from lab.virtpool import Pool


@dataclass(frozen=True)
class Folder:
    """A runtime directory of a lab whose own `directory` is gone, with the processes that use it."""

    path: Path
    directory: Path
    processes: tuple[Process, ...]

    @property
    def everything(self) -> tuple[str, ...]:
        """Each as a person would call it."""
        return (*(f"process {item.pid} ({item.name})" for item in self.processes), f"directory {self.path}")


@dataclass(frozen=True)
class Leftovers:
    """What belongs to no lab. `uri` is where the machines are (empty where no libvirt runs)."""

    uri: str
    machines: tuple[Owned, ...]
    networks: tuple[OwnedNetwork, ...]
    folders: tuple[Folder, ...]
    abandoned: tuple[Abandoned, ...] = ()

    @property
    def everything(self) -> tuple[str, ...]:
        """Each as a person would call it."""
        return (
            *(f"machine {item.name} ({item.state})" for item in self.machines),
            *(f"network {item.name} and its disks" for item in self.networks),
            *(line for item in self.folders for line in item.everything),
            *(_far(left, uri) for left in self.abandoned for uri in left.uris),
        )


def _far(left: Abandoned, uri: str) -> str:
    return f"the lab {left.lab} at {uri}"


def leftovers(environ: Mapping[str, str]) -> Leftovers:
    """Look for them; nothing is started or changed."""
    own = labs_dir()
    machines: tuple[Owned, ...] = ()
    networks: tuple[OwnedNetwork, ...] = ()

    def orphan(directory: str) -> bool:
        return directory.startswith(f"{own}/") and not Path(directory, "lab.json").is_file()

    shared = daemon.answering(environ)
    if shared is not None:
        with Virt(shared.uri) as virt:
            machines = tuple(item for item in virt.owned() if orphan(item.directory))
            theirs = Networks(virt.connection(shared.uri))
            networks = tuple(item for item in theirs.owned() if orphan(item.directory))
    uri = "" if shared is None else shared.uri
    return Leftovers(uri, machines, networks, _folders(own), abandoned.notes())


def _folders(own: Path) -> tuple[Folder, ...]:
    """The runtime directories of labs that were in `own` and are gone; other states' are below it too."""
    place = runtime_dir()
    found = []
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        directory = runtime.owner(path)
        if directory is not None and directory.parent == own and not directory.exists():
            found.append(Folder(path, directory, sweep.processes([path])))
    return tuple(found)


def collect(found: Leftovers, runner: Runner) -> dict[str, str]:
    """Remove them. LabError names what would not go; what a libvirt that is still silent keeps is returned.

    The answer has the words of `everything`, and why.
    """
    stays = {
        _far(left, uri): why
        for left in found.abandoned
        for uri, why in abandoned.collect(left, runner).items()
    }
    if found.machines or found.networks:
        with Virt(found.uri) as virt:
            for machine in found.machines:
                virt.remove(machine.uuid)
            for network in found.networks:
                name = base_name(network.lab, network.token)
                Networks(virt.connection(found.uri)).remove(network.name)
                Pool(virt.connection(found.uri), name, POOLS / name).remove()
    for item in found.folders:
        try:
            with locked(item.directory.name):
                _collect(item)
        except LockedError as exc:
            stays |= dict.fromkeys(item.everything, exc.message)
    return stays


def _collect(folder: Folder) -> None:
    if folder.directory.exists():
        # It was brought up again since it was looked for.
        return
    left = sweep.finish(sweep.processes([folder.path]))
    if left:
        raise LabError("some processes do not end", details=[f"{item.pid} {item.name}" for item in left])
    shutil.rmtree(folder.path)
    remove_files(folder.directory.name)
