"""The labs that follow from `config/lab.yml` and from the hosts of a deploy file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from cloudinit.profile import HostProfile
from freehold.errors import UsageError
from freehold.settings import near
from lab.labfile import LabFile, MachineFile, network_specs
from lab.model import LONGEST_NAME, LabSpec, MachineSpec, is_address
from lab.topology import LAN


def default_name(root: Path) -> str:
    """What a lab is called that nobody named: after its project's directory."""
    return as_name(root.resolve().name)


def as_name(text: str) -> str:
    """A name for a lab that is made of another name; a long one keeps a mark of what it loses."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "lab"
    if len(name) > LONGEST_NAME:
        mark = hashlib.sha256(name.encode()).hexdigest()[:6]
        name = f"{name[: LONGEST_NAME - len(mark) - 1].strip('-')}-{mark}"
    return name


def from_file(file: LabFile, name: str, *, profile: HostProfile | None = None) -> LabSpec:
    """A lab with the machines that the file itself names."""
    machines = tuple(_sized(MachineSpec(key), file, (key,)) for key in file.machines)
    return _spec(file, name, machines, profile)


def mirror(
    name: str,
    hosts: Sequence[tuple[str, Sequence[str]]],
    *,
    file: LabFile | None = None,
    profile: HostProfile | None = None,
) -> LabSpec:
    """A lab with one machine per host of a deploy file: (host, its roles), the same order.

    A host that is given by name keeps its first label as machine name where that is unique; one that
    is given by address is called after its first role (`web-1`). None is called as another host is.
    """
    file = file or LabFile()
    merged: dict[str, list[str]] = {}
    for host, roles in hosts:
        known = merged.setdefault(host, [])
        known += [role for role in roles if role not in known]
    taken: dict[str, str] = {}
    for host, roles in merged.items():
        taken[_machine_name(host, roles, (merged.keys() - {host}) | taken.keys())] = host
    machines = tuple(
        _sized(MachineSpec(label, host, tuple(merged[host])), file, (label, host))
        for label, host in taken.items()
    )
    return _spec(file, name, machines, profile)


def unused(file: LabFile, spec: LabSpec) -> tuple[str, ...]:
    """What `machines:` names beside the mirrored hosts, a line each: slips, or hosts of a destination."""
    known = [name for machine in spec.machines for name in (machine.name, machine.host)]
    return tuple(
        f"`machines:` in config/lab.yml names {key}, which is no host here"
        + (f"; did you mean {guess}?" if (guess := near(key, known)) else "")
        for key in file.machines
        if key not in known
    )


def _machine_name(host: str, roles: Sequence[str], taken: Collection[str]) -> str:
    if not is_address(host):
        for candidate in (host.split(".")[0], host.replace(".", "-")):
            label = re.sub(r"[^a-z0-9-]+", "-", candidate.lower()).strip("-")[:40].strip("-")
            if label and label not in taken:
                return label
    stem = re.sub(r"[^a-z0-9-]+", "-", (roles[0] if roles else "host").lower()).strip("-")[:32] or "host"
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def _sized(machine: MachineSpec, file: LabFile, keys: Sequence[str]) -> MachineSpec:
    named = [key for key in dict.fromkeys(keys) if key in file.machines]
    if len(named) > 1:
        raise UsageError(
            f"`machines:` in config/lab.yml has {' and '.join(named)}, which are one machine",
            hint="keep one of them",
        )
    found = file.machines[named[0]] if named else MachineFile()
    return replace(
        machine,
        roles=machine.roles or found.roles,
        cpus=found.cpus or file.cpus,
        memory=found.memory or file.memory,
        disk=found.disk or file.disk,
        disks=found.disks,
        hypervisor=found.hypervisor,
        suite=found.suite,
        image=found.image,
        networks={LAN: ""} if found.networks is None else found.networks,
    )


def _spec(
    file: LabFile, name: str, machines: tuple[MachineSpec, ...], profile: HostProfile | None
) -> LabSpec:
    return LabSpec(
        name=file.name or name,
        machines=machines,
        suite=file.suite,
        profile=profile,
        image=file.image,
        internet=file.internet,
        boot=file.boot,
        ports=file.ports,
        deadline=file.deadline,
        uri=file.uri,
        hypervisors=file.hypervisors,
        network=file.network,
        accelerator=file.accelerator,
        networks=network_specs(file),
    )
