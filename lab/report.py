"""What a lab is, for people and for programs: status rows, hosts, inventories. Rendering only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.spec import MiB
from cloudinit.profile import HostProfile
from freehold.console import size
from lab.address import lan_address, numbering
from lab.model import LabSpec, guest_ports
from lab.networks import planned, plugged
from lab.productive import kept
from lab.state import LabState, MachineState
from lab.topology import LAN

HEADERS = ("machine", "state", "boot", "address", "lan", "roles", "memory", "disk", "snapshots")


@dataclass(frozen=True)
class MachineStatus:
    """A machine as it is now. `memory` and `disk` are bytes of this computer that it takes."""

    machine: MachineState
    state: str
    boot: str
    memory: int
    disk: int
    snapshots: tuple[str, ...]


def status_row(status: MachineStatus) -> tuple[str, ...]:
    """The row under HEADERS."""
    machine = status.machine
    return (
        machine.name,
        status.state,
        status.boot,
        machine.address,
        ", ".join(
            plug.address if plug.network == LAN else f"{plug.network} {plug.address}"
            for plug in machine.cards
        ),
        ",".join(machine.roles) or "-",
        size(status.memory) if status.memory else "-",
        size(status.disk),
        ",".join(status.snapshots) or "-",
    )


def status_object(status: MachineStatus) -> dict[str, Any]:
    """The status for `--json`: the machine's inventory and what changes."""
    return {
        **machine_object(status.machine),
        "state": status.state,
        "boot": status.boot,
        "memory_used": status.memory,
        "disk_used": status.disk,
        "snapshots": list(status.snapshots),
    }


def machine_object(machine: MachineState) -> dict[str, Any]:
    """A machine in the JSON inventory."""
    return {
        "name": machine.name,
        "host": machine.host,
        "roles": list(machine.roles),
        "address": machine.address,
        "ssh_port": machine.ssh_port,
        "http_port": machine.http_port,
        "https_port": machine.https_port,
        "lan": machine.lan,
        "networks": {plug.network: plug.address for plug in machine.cards},
    }


def inventory(state: LabState) -> dict[str, Any]:
    """The lab for programs that are not Freehold."""
    return {
        "lab": state.name,
        "user": state.user,
        "key": str(state.key),
        "known_hosts": str(state.known_hosts),
        "ssh_config": str(state.ssh_config),
        "networks": [
            {"name": item.name, "subnet": item.subnet, "isolated": item.isolated} for item in state.networks
        ],
        "machines": [machine_object(machine) for machine in state.machines],
    }


PLAN_HEADERS = ("machine", "host", "roles", "lan", "cpus", "memory", "disk")


def plan(spec: LabSpec, accelerator: str) -> dict[str, Any]:
    """What `lab up` would make, for programs; sizes in MiB. `vagrant/Vagrantfile` is one of them."""
    numbers = numbering(spec, {})
    networks = planned(spec.name, spec.networks, ())
    machines = [(machine, numbers[machine.name]) for machine in spec.machines]
    plugs = plugged(spec.name, networks, machines, {})
    usual = guest_ports(spec.profile or HostProfile())
    known = {machine.name: (machine.host, plugs[machine.name]) for machine in spec.machines}
    return {
        "lab": spec.name,
        "suite": spec.suite,
        "accelerator": accelerator,
        "deadline": spec.deadline,
        "networks": [
            {"name": item.name, "subnet": item.subnet, "isolated": item.isolated} for item in networks
        ],
        "machines": [
            {
                "name": machine.name,
                "host": machine.host,
                "roles": list(machine.roles),
                "lan": lan_address(numbers[machine.name]) if LAN in machine.networks else "",
                "networks": {plug.network: plug.address for plug in plugs[machine.name]},
                "cpus": machine.cpus,
                "memory": machine.memory // MiB,
                "disk": machine.disk // MiB,
                "disks": [size // MiB for size in machine.disks],
                "suite": machine.suite or spec.suite,
                "image": str(machine.image or ""),
                "production": [
                    {"network": item.network, "address": item.address, "via": item.via}
                    for item in kept(machine.name, known)
                ],
                "ssh_port": (machine.guest or usual).ssh,
            }
            for machine in spec.machines
        ],
    }


def plan_rows(planned: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The machines of `plan` as rows under PLAN_HEADERS."""
    return [
        (
            machine["name"],
            machine["host"],
            ",".join(machine["roles"]) or "-",
            ", ".join(
                address if network == LAN else f"{network} {address}"
                for network, address in machine["networks"].items()
            ),
            str(machine["cpus"]),
            f"{machine['memory']} MiB",
            f"{machine['disk']} MiB",
        )
        for machine in planned["machines"]
    ]


def ansible(state: LabState) -> dict[str, Any]:
    """The lab as an Ansible inventory (YAML): all machines, and one group for each role."""
    hosts = {
        machine.name: {
            "ansible_host": machine.address,
            "ansible_port": machine.ssh_port,
            "ansible_user": state.user,
            "ansible_ssh_private_key_file": str(state.key),
            "ansible_ssh_common_args": (
                f"-o UserKnownHostsFile={state.known_hosts} "
                "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
            ),
        }
        for machine in state.machines
    }
    roles = sorted({role for machine in state.machines for role in machine.roles})
    groups: dict[str, Any] = {
        # Ansible's groups are Python names.
        role.replace("-", "_"): {
            "hosts": {machine.name: {} for machine in state.machines if role in machine.roles}
        }
        for role in roles
    }
    return {"all": {"hosts": hosts, **({"children": groups} if groups else {})}}


def hosts_block(state: LabState, domain: str = "", more: str = "") -> str:
    """Lines for /etc/hosts: each machine's address under its name, with `domain` behind it; `more` lines."""
    lines = [f"# freehold lab {state.name}"]
    for machine in state.machines:
        names = [f"{machine.name}.{domain}"] if domain else [machine.name, f"{machine.name}.{state.name}.lab"]
        lines.append(f"{machine.address} {' '.join(names)}")
    return "\n".join([*lines, f"{more}# end of freehold lab {state.name}"]) + "\n"


def urls(state: LabState) -> Mapping[str, Sequence[str]]:
    """Where each machine's proxy answers on this computer."""
    return {
        machine.name: (
            f"http://{machine.address}:{machine.http_port}/",
            f"https://{machine.address}:{machine.https_port}/",
        )
        for machine in state.machines
    }
