"""The host profile: `config/host.yml`, read once, frozen from then on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cloudinit.authority import with_root
from cloudinit.extrafiles import ExtraFile, fill, read_files
from cloudinit.lockouts import option_places, refuse_lockouts
from cloudinit.network import Network
from cloudinit.services import Docker, Firewall, Proxy, Ssh, Updates
from cloudinit.users import User, read_groups, read_users
from freehold import yamlfile
from freehold.settings import convert, fail, read, setting
from freehold.source import Location
from freehold.yamlfile import Node
from freehold.zones import read_zone

HOSTNAME = r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*"
# Linux takes no longer one.
HOSTNAME_MAX = 64
UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def _read_size(node: Node) -> int | None:
    text = (node.raw or str(node.value)).strip().lower()
    if text in ("none", "no", "0") or node.value is None:
        return None
    found = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", text)
    if found is None:
        fail(node, f"{text!r} is no size", hint="write 512MiB, 2GiB or none")
    size = int(found.group(1)) * UNITS[found.group(2)]
    if size < 16 * UNITS["m"]:
        fail(node, f"a swap file of {size:,} bytes is of no use", hint="write 512MiB, 2GiB or none")
    return size


def _read_sysctl(node: Node) -> Mapping[str, str]:
    values = convert(Mapping[str, str | int], node)
    for name, entry in node.items():
        if not re.fullmatch(r"[a-z0-9_]+(?:[./][A-Za-z0-9_*-]+)+", name):
            fail(entry.key_where or entry, f"{name!r} is no kernel setting", hint="for example vm.swappiness")
        if "\n" in str(entry.value):
            fail(entry, "a kernel setting is one line")
    return {name: str(value) for name, value in values.items()}


@dataclass(frozen=True)
class Machine:
    """What is particular to one host: it goes into that host's seed."""

    hostname: str | None = setting(
        None,
        pattern=HOSTNAME,
        help="Its name. A seed takes the name it is made for; an existing server keeps its own.",
        example="web-1",
    )
    fqdn: str | None = setting(None, pattern=HOSTNAME, help="Full name, if it is more than the host's.")
    network: Network | None = setting(None, help="Addresses; without it the image's default (DHCP).")

    def __post_init__(self) -> None:
        if len(self.hostname or "") > HOSTNAME_MAX:
            raise ValueError(f"the hostname is longer than the {HOSTNAME_MAX} characters that Linux takes")


@dataclass(frozen=True)
class HostProfile:
    """What a prepared host is. Every part has a default: the file may be missing altogether."""

    users: tuple[User, ...] = setting(
        (User("deploy"),),
        help="Who may log in; a user without keys gets the operator's own.",
        parse=read_users,
        form="list of names or maps, or map of maps",
        shown="deploy",
        schema={"type": ["array", "object"]},
    )
    groups: tuple[str, ...] = setting(
        (),
        parse=read_groups,
        help="Groups that are made where they are missing, for users' `groups` and for files.",
        schema={"type": "array", "items": {"type": "string"}},
        example=["audit"],
    )
    timezone: str = setting(
        "Etc/UTC",
        parse=read_zone,
        help="Time zone.",
        schema={"type": "string"},
        example="Europe/Berlin",
    )
    locale: str = setting(
        "C.UTF-8", pattern=r"[A-Za-z_]+(?:\.UTF-8)(?:@\w+)?", help="Locale.", example="en_GB.UTF-8"
    )
    ntp: tuple[str, ...] = setting(
        (), pattern=r"[A-Za-z0-9.:-]+", help="Time servers; the distribution's where empty.", example="ntp1"
    )
    swap: int | None = setting(
        None,
        parse=_read_size,
        form="a size or none",
        help="Size of a swap file.",
        schema={"type": ["string", "null"]},
        example="2GiB",
    )
    packages: tuple[str, ...] = setting(
        (), pattern=r"[a-z0-9][a-z0-9+.-]+", help="Further packages of the distribution.", example="htop"
    )
    sysctl: Mapping[str, str] = setting(
        factory=dict, parse=_read_sysctl, help="Kernel settings.", example={"vm.swappiness": 10}
    )
    ssh: Ssh = setting(Ssh(), help="The SSH server.")
    firewall: Firewall = setting(Firewall(), help="The firewall.")
    fail2ban: bool = setting(False, help="Shut out addresses that keep failing to log in.")
    updates: Updates = setting(Updates(), help="Unattended updates.")
    docker: Docker = setting(Docker(), help="The Docker Engine.")
    proxy: Proxy = setting(Proxy(), help="The proxy.")
    files: tuple[ExtraFile, ...] = setting((), parse=read_files, help="Further files.")
    commands: tuple[str, ...] = setting(
        (), help="Shell commands, each run once on a host as root, after everything else."
    )
    machines: Mapping[str, Machine] = setting(
        factory=dict, help="What is particular to one host, by its name."
    )

    # Not of the file: which host this is about, and where some values stand (`packages[0]`, `ssh.port`).
    hostname: str = ""
    fqdn: str = ""
    places: Mapping[str, Location] = field(default_factory=dict, repr=False, compare=False)

    def for_host(self, name: str) -> HostProfile:
        """The profile of one host: with the name that `machines` gives it, if it gives one."""
        machine = self.machine(name)
        return replace(self, hostname=machine.hostname or "", fqdn=machine.fqdn or "")

    def admitting(self, *networks: str) -> HostProfile:
        """The profile with SSH open to these networks too; the same where it is open to everybody."""
        if not self.ssh.allow:
            return self
        allow = dict.fromkeys((*self.ssh.allow, *(ipaddress.ip_network(text) for text in networks)))
        return replace(self, ssh=replace(self.ssh, allow=tuple(allow)))

    def machine(self, name: str) -> Machine:
        """The settings of one host; the defaults where the file has none."""
        return self.machines.get(name, Machine())


def parse_profile(text: str, name: str = "config/host.yml", *, root: Path | None = None) -> HostProfile:
    """The profile in a YAML text; ConfigError with line and key at the first mistake.

    `root` is the project's directory, where files that the profile names are read.
    """
    return _read(yamlfile.parse(text, name), root)


def load_profile(path: Path, *, name: str | None = None) -> HostProfile:
    """The profile in a file; `name` is how errors call it."""
    # config/host.yml: its paths begin where the project does.
    return _read(yamlfile.load(path, name=name), path.absolute().parent.parent)


def _read(node: Node, root: Path | None) -> HostProfile:
    profile = read(HostProfile, node, extensions=True)
    for name, entry in (node.get("machines") or Node({}, node.where)).items():
        if not re.fullmatch(HOSTNAME, name):
            fail(entry.key_where or entry, f"{name!r} is no host name")
    files, sources = fill(profile.files, node.get("files"), root)
    proxy = with_root(profile.proxy, node.get("proxy"), root)
    _refuse_shared_port(profile, node)
    refuse_lockouts(profile.users, profile.ssh, node)
    return replace(profile, files=files, proxy=proxy, places={**dict(_places(node)), **sources})


def shared_port(profile: HostProfile) -> tuple[str, str, int] | None:
    """Two keys of a profile that give the same port to two services, and the port."""
    ports: dict[str, int | None] = {"ssh.port": profile.ssh.port}
    if profile.proxy.enabled:
        for name in ("http_port", "https_port", "metrics_port"):
            ports[f"proxy.{name}"] = getattr(profile.proxy, name)
    owners: dict[int, str] = {}
    for key, port in ports.items():
        if port is not None and owners.setdefault(port, key) != key:
            return owners[port], key, port
    return None


def _refuse_shared_port(profile: HostProfile, node: Node) -> None:
    # A sshd that cannot have its port ends, and nobody reaches the host any more.
    found = shared_port(profile)
    if found is None:
        return
    first, second, port = found
    # One of the two may be a default, which stands nowhere.
    named = [_child(node.get(part), name) for part, name in (key.split(".") for key in (second, first))]
    at = next((item for item in named if item is not None), node)
    fail(at, f"{first} and {second} are both {port}", hint="give each a port of its own")


def _child(node: Node | None, key: str) -> Node | None:
    return node.get(key) if node is not None else None


def _places(node: Node) -> Iterator[tuple[str, Location]]:
    docker = node.get("docker")
    if docker is not None:
        yield "docker", docker.key_where or docker.where
    port = _child(node.get("ssh"), "port")
    if port is not None:
        yield "ssh.port", port.where
    yield from option_places(node)
    for key in ("packages", "commands", "files"):
        for index, item in enumerate((node.get(key) or node).elements()):
            path = item.get("path")
            if path is not None:
                yield f"{key}[{index}].path", path.where
            text = item.get("content") or item
            # A block scalar begins on the line below its mark.
            shift = 1 if "\n" in text.raw else 0
            yield f"{key}[{index}]", replace(text.where, line=text.where.line + shift)
