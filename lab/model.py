"""What a lab is: frozen values. `lab/labfile.py` makes them of `config/lab.yml` and a deploy file."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from builder.spec import GiB, MiB
from cloudinit.profile import HostProfile
from freehold.errors import UsageError
from freehold.settings import setting
from lab.topology import LAN, Member, Misplaced, NetworkSpec, check

LONGEST_NAME = 40
NAME = rf"[a-z0-9](?:[a-z0-9-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?"
# One /24 between the machines; addresses begin at .11.
MOST_MACHINES = 200
LEAST_MEMORY = 256 * MiB
LEAST_DISK = 2 * GiB
MOST_DISKS = 8

Boot = Literal["kernel", "uefi"]
# `user`: QEMU's own user-mode network, forwards on loopback addresses and the lab's own switch; no root.
# `nat`: networks, disks and addresses by a system libvirt, here or on another computer.
NetworkMode = Literal["user", "nat"]
AcceleratorWish = Literal["auto", "kvm", "tcg"]


def check_name(name: str, what: str) -> str:
    """`name`, or UsageError unless it can be a host name of one label."""
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} is no name for {what}",
            hint="lower-case letters, digits and '-', at most 40, for example web-1",
        )
    return name


@dataclass(frozen=True)
class Ports:
    """Where a machine's own ports answer on its loopback address."""

    ssh: int = setting(2222, minimum=1, maximum=65535, help="Stands for the machine's port for SSH.")
    http: int = setting(8080, minimum=1, maximum=65535, help="Stands for the machine's port for HTTP.")
    https: int = setting(8443, minimum=1, maximum=65535, help="Stands for the machine's port for HTTPS.")

    def __post_init__(self) -> None:
        if len({self.ssh, self.http, self.https}) != 3:
            raise ValueError("ssh, http and https need three different ports")


@dataclass(frozen=True)
class GuestPorts:
    """The ports that a machine itself has: its sshd's and its proxy's."""

    ssh: int = 22
    http: int = 80
    https: int = 443


def guest_ports(profile: HostProfile) -> GuestPorts:
    """The ports of a machine that is what the profile says."""
    return GuestPorts(profile.ssh.port, profile.proxy.http_port, profile.proxy.https_port)


@dataclass(frozen=True)
class MachineSpec:
    """One machine. `memory`, `disk` and further `disks` in bytes; `host` is what the deploy file calls it.

    `hypervisor` names one of the lab's; the first where it is left out. `suite` or `image` (a golden image's
    directory) are its own where it does not run the lab's. `networks` are those between the machines that it
    is on, with its address there, empty where the lab chooses. `guest`: its ports, else the profile's.
    """

    name: str
    host: str = ""
    roles: tuple[str, ...] = ()
    cpus: int = 1
    memory: int = 1280 * MiB
    disk: int = 8 * GiB
    disks: tuple[int, ...] = ()
    hypervisor: str = ""
    suite: str | None = None
    image: Path | None = None
    networks: Mapping[str, str] = field(default_factory=lambda: {LAN: ""})
    guest: GuestPorts | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "a machine")
        if not self.host:
            object.__setattr__(self, "host", self.name)


@dataclass(frozen=True)
class LabSpec:
    """A whole lab. `deadline` is how long, in seconds, the machines may take until they are ready.

    `image` is the directory of a golden image; None builds (or finds in the cache) the one for
    `suite` and `profile`. `internet` lets the machines out; otherwise they reach each other only.
    `uri` names a libvirt; empty takes this user's own, or a private one where none runs. `hypervisors` are
    several by name instead. `network` is `nat` wherever a system libvirt is named, unless it is said.
    """

    name: str
    machines: tuple[MachineSpec, ...]
    suite: str = "trixie"
    profile: HostProfile | None = None
    image: Path | None = None
    internet: bool = False
    boot: Boot = "kernel"
    ports: Ports = Ports()
    deadline: float = 600.0
    uri: str = ""
    hypervisors: Mapping[str, str] = field(default_factory=dict)
    network: NetworkMode | None = None
    accelerator: AcceleratorWish = "auto"
    networks: tuple[NetworkSpec, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name, "a lab")
        if not self.machines:
            raise UsageError(f"the lab {self.name} has no machines", hint="name at least one")
        if len(self.machines) > MOST_MACHINES:
            raise UsageError(f"{len(self.machines)} machines are too many", hint=f"at most {MOST_MACHINES}")
        for what, values in (
            ("name", [machine.name for machine in self.machines]),
            ("host", [machine.host for machine in self.machines]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise UsageError(f"two machines of the lab {self.name} have the {what} {value}")

        for machine in self.machines:
            if machine.hypervisor and machine.hypervisor not in self.hypervisors:
                known = ", ".join(self.hypervisors)
                raise UsageError(
                    f"{machine.name}: the lab {self.name} has no hypervisor {machine.hypervisor!r}",
                    hint=f"`hypervisors:` names {known}" if known else "name it under `hypervisors:`",
                )
        first = next(iter(self.hypervisors), "")
        members = [Member(item.name, item.networks, item.hypervisor or first) for item in self.machines]
        try:
            check(self.networks, members)
        except Misplaced as exc:
            where = ".".join(exc.path)
            raise UsageError(f"the lab {self.name}: {where}: {exc}", hint=exc.hint) from exc

    @property
    def user(self) -> str:
        """Who logs in: the first user of the profile."""
        users = (self.profile or HostProfile()).users
        return users[0].name if users else "root"


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
