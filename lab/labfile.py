"""`config/lab.yml`: its keys, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from builder.spec import SUITES, GiB, MiB, parse_size, parse_suite
from freehold import yamlfile
from freehold.errors import UsageError
from freehold.settings import fail, read, setting
from freehold.yamlfile import Node
from lab.model import (
    LEAST_DISK,
    LEAST_MEMORY,
    MOST_DISKS,
    NAME,
    AcceleratorWish,
    Boot,
    NetworkMode,
    Ports,
)
from lab.netfile import MEMBERSHIP_SCHEMA, NetworkFile, check_file, read_membership
from lab.topology import Member, NetworkSpec

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
    check_file(node, network_specs(file), members)
    return file


def network_specs(file: LabFile) -> tuple[NetworkSpec, ...]:
    """The further networks of a file."""
    return tuple(NetworkSpec(name, item.subnet, item.isolated) for name, item in file.networks.items())
