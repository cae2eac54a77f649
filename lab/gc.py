"""Leftovers of runs that crashed: machines in libvirt and processes whose lab is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import LabError
from freehold.paths import runtime_dir
from freehold.process import Runner
from lab import abandoned, daemon, sweep
from lab.abandoned import Abandoned
from lab.natnet import POOLS, base_name
from lab.state import labs_dir, list_labs, runtime_of
from lab.sweep import Process
from lab.virt import Owned, Virt
from lab.virtnet import Networks, OwnedNetwork
from lab.virtpool import Pool


@dataclass(frozen=True)
class Leftovers:
    """What belongs to no lab. `uri` is where the machines are (empty where no libvirt runs)."""

    uri: str
    machines: tuple[Owned, ...]
    networks: tuple[OwnedNetwork, ...]
    processes: tuple[Process, ...]
    folders: tuple[Path, ...]
    abandoned: tuple[Abandoned, ...] = ()

    @property
    def everything(self) -> tuple[str, ...]:
        """Each as a person would call it."""
        return (
            *(f"machine {item.name} ({item.state})" for item in self.machines),
            *(f"network {item.name} and its disks" for item in self.networks),
            *(f"process {item.pid} ({item.name})" for item in self.processes),
            *(f"directory {path}" for path in self.folders),
            *(_far(left, uri) for left in self.abandoned for uri in left.uris),
        )


def _far(left: Abandoned, uri: str) -> str:
    return f"the lab {left.lab} at {uri}"


def leftovers(environ: Mapping[str, str]) -> Leftovers:
    """Look for them; nothing is started or changed."""
    runtimes = {runtime_of(name) for name in list_labs()}
    folders = tuple(
        path
        for path in (sorted(runtime_dir().iterdir()) if runtime_dir().is_dir() else ())
        if path.is_dir() and path not in runtimes and _is_lab_runtime(path)
    )
    own = str(labs_dir())
    shared = daemon.find(Path(os.devnull), uri="", environ=environ)
    machines: tuple[Owned, ...] = ()
    networks: tuple[OwnedNetwork, ...] = ()

    def orphan(directory: str) -> bool:
        return directory.startswith(f"{own}/") and not Path(directory, "lab.json").is_file()

    if not shared.private:
        with Virt(shared.uri) as virt:
            machines = tuple(item for item in virt.owned() if orphan(item.directory))
            theirs = Networks(virt.connection(shared.uri))
            networks = tuple(item for item in theirs.owned() if orphan(item.directory))
    processes = sweep.processes(folders) if folders else ()
    uri = "" if shared.private else shared.uri
    return Leftovers(uri, machines, networks, processes, folders, abandoned.notes())


def _is_lab_runtime(path: Path) -> bool:
    return len(path.name) == 10 and (any((path / name).is_dir() for name in ("virt", "lan", "t")))


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
            for item in found.machines:
                virt.remove(item.uuid)
            for network in found.networks:
                name = base_name(network.lab, network.token)
                Networks(virt.connection(found.uri)).remove(network.name)
                Pool(virt.connection(found.uri), name, POOLS / name).remove()
    left = sweep.finish(found.processes)
    if left:
        raise LabError("some processes do not end", details=[f"{item.pid} {item.name}" for item in left])
    for path in found.folders:
        shutil.rmtree(path)
    return stays
