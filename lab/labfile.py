"""`config/lab.yml`, and the labs that follow from it and from the hosts of a deploy file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.spec import SUITES, GiB, MiB, parse_size, parse_suite
from cloudinit.profile import HostProfile
from freehold import yamlfile
from freehold.errors import UsageError
from freehold.settings import fail, near, read, setting
from freehold.yamlfile import Node
from lab.model import (
    LEAST_DISK,
    LEAST_MEMORY,
    LONGEST_NAME,
    MOST_DISKS,
    NAME,
    AcceleratorWish,
    Boot,
    LabSpec,
    MachineSpec,
    NetworkMode,
    Ports,
    is_address,
)
from lab.netfile import MEMBERSHIP_SCHEMA, NetworkFile, check_file, read_membership
from lab.topology import LAN, Member, NetworkSpec

SUITE_SCHEMA = {"enum": [*SUITES, *(f"{suite.system}-{suite.version}" for suite in SUITES.values())]}

SIZE_SCHEMA = {"type": ["string", "integer"]}


def _read_size(least: int) -> Callable[[Node], int]:
    def parse(node: Node) -> int:
        try:
            size = parse_size(node.raw or str(node.value))
        except UsageError as exc:
            fail(node, exc.message, hint="write it as 1280M or 8G")
        if size < least or size % MiB:
            fail(node, f"{size} bytes is not enough", hint=f"at least {least // MiB}M, in whole MiB")
        return size

    return parse


def _read_disks(node: Node) -> tuple[int, ...]:
    sizes = tuple(_read_size(MiB)(item) for item in node.elements())
    if len(sizes) > MOST_DISKS:
        fail(node, f"{len(sizes)} further disks are too many", hint=f"at most {MOST_DISKS}")
    return sizes


def _read_suite(node: Node) -> str:
    try:
        return parse_suite(str(node.value))
    except UsageError as exc:
        fail(node, exc.message, hint=exc.hint)


@dataclass(frozen=True)
class MachineFile:
    """One machine in `config/lab.yml`; what is left out comes from the top of the file."""

    roles: tuple[str, ...] = setting((), help="What it is for.", example=["web"])
    cpus: int | None = setting(None, minimum=1, maximum=64, help="Virtual processors.")
    memory: int | None = setting(
        None, parse=_read_size(LEAST_MEMORY), form="a size", help="Memory.", schema=SIZE_SCHEMA, example="2G"
    )
    disk: int | None = setting(
        None,
        parse=_read_size(LEAST_DISK),
        form="a size",
        help="Size of its disk.",
        schema=SIZE_SCHEMA,
        example="20G",
    )
    suite: str | None = setting(None, parse=_read_suite, help="Release that it runs.", schema=SUITE_SCHEMA)
    image: Path | None = setting(None, help="Directory of a golden image of its own.", example="images/old")
    hypervisor: str = setting(
        "", help="Which of `hypervisors` it runs on; the first where left out.", example="big"
    )
    disks: tuple[int, ...] = setting(
        (),
        parse=_read_disks,
        form="list of sizes",
        help="Sizes of further, empty disks: `/dev/disk/by-id/virtio-data-1` and so on.",
        schema={"type": "array", "items": SIZE_SCHEMA, "maxItems": MOST_DISKS},
        example=["10G"],
    )
    networks: Mapping[str, str] | None = setting(
        None,
        parse=read_membership,
        form="list of text or map of text",
        help="Networks that it is on, `lan` alone where left out; as a map with its addresses there.",
        schema=MEMBERSHIP_SCHEMA,
        example=["lan", "back"],
    )


@dataclass(frozen=True)
class LabFile:
    """`config/lab.yml`. The file may be missing: every key has a default."""

    name: str | None = setting(None, pattern=NAME, help="Name of the lab; the service's where left out.")
    suite: str = setting(
        "trixie",
        parse=_read_suite,
        shown="debian-13",
        help="Release that the machines run.",
        schema=SUITE_SCHEMA,
    )
    image: Path | None = setting(
        None, help="Directory of a golden image, in place of one that is built.", example="images/old"
    )
    cpus: int = setting(1, minimum=1, maximum=64, help="Virtual processors of each machine.")
    memory: int = setting(
        1280 * MiB,
        parse=_read_size(LEAST_MEMORY),
        form="a size",
        shown="1280M",
        help="Memory of each machine.",
        schema=SIZE_SCHEMA,
        example="1280M",
    )
    disk: int = setting(
        8 * GiB,
        parse=_read_size(LEAST_DISK),
        form="a size",
        shown="8G",
        help="Size of each machine's disk.",
        schema=SIZE_SCHEMA,
        example="8G",
    )
    internet: bool = setting(False, help="Let the machines reach the internet.")
    boot: Boot = setting("kernel", help="Start the kernel directly (fast), or by UEFI firmware.")
    ports: Ports = setting(Ports(), help="Where the machines' ports answer on their loopback addresses.")
    deadline: float = setting(600.0, minimum=10, help="Seconds until every machine has to be ready.")
    uri: str = setting("", help="A libvirt of your own choice.", example="qemu+ssh://root@big/system")
    hypervisors: Mapping[str, str] = setting(
        factory=dict,
        help="Several libvirts by name, for `hypervisor` of the machines.",
        example={"here": "qemu:///system", "big": "qemu+ssh://root@big/system"},
    )
    network: NetworkMode | None = setting(
        None,
        help="`user`: without root, on loopback addresses; `nat`: networks of a system libvirt.",
    )
    accelerator: AcceleratorWish = setting("auto", help="What runs the processors; `auto` finds out.")
    networks: Mapping[str, NetworkFile] = setting(
        factory=dict,
        help="Further networks between machines, by name, beside `lan`.",
        example={"back": {"subnet": "10.20.0.0/24"}},
    )
    machines: Mapping[str, MachineFile] = setting(
        factory=dict, help="The machines by name; with a deploy file, sizes for the hosts named here."
    )


def parse_lab_file(text: str, name: str = "config/lab.yml") -> LabFile:
    """The lab file in a YAML text; ConfigError with line and key at the first mistake."""
    return _read(yamlfile.parse(text, name))


def load_lab_file(path: Path, *, name: str | None = None) -> LabFile:
    """The project's `config/lab.yml` at `path`; `name` is how errors call it.

    Images are below the project's root: qemu-img would look for a relative one beside the disk it makes.
    """
    file, root = _read(yamlfile.load(path, name=name)), path.absolute().parent.parent
    return replace(
        file,
        image=file.image and root / file.image,
        machines={
            key: replace(item, image=item.image and root / item.image) for key, item in file.machines.items()
        },
    )


def _read(node: Node) -> LabFile:
    file = read(LabFile, node, extensions=True)
    first = next(iter(file.hypervisors), "")
    members = tuple(
        Member(name, machine.networks, machine.hypervisor or first)
        for name, machine in file.machines.items()
        if machine.networks is not None
    )
    check_file(node, _networks(file), members)
    return file


def _networks(file: LabFile) -> tuple[NetworkSpec, ...]:
    return tuple(NetworkSpec(name, item.subnet, item.isolated) for name, item in file.networks.items())


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
        networks=_networks(file),
    )
