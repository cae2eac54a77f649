"""The seed of a lab's machine: who it is, its keys and addresses. Rendering only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cloudinit.hostkeys import HostKey
from cloudinit.keys import PublicKey
from cloudinit.network import Interface, Network, Route
from cloudinit.profile import HOSTNAME
from cloudinit.seed import Seed, SeedFiles, render_seed
from cloudinit.users import User
from lab.address import (
    MANAGEMENT_ADDRESS,
    MANAGEMENT_DNS,
    MANAGEMENT_GATEWAY,
)
from lab.model import is_address
from lab.networks import met
from lab.productive import kept
from lab.state import LabState, MachineState

MANAGEMENT = "eth0"

# A golden image needs its identity and nothing else: each further module costs seconds of an emulated
# processor. The image's own systemd grows the root. Debian 12's cloud-init fails on a locale that the
# image does not have unless it is told to leave it alone.
IDENTITY_ONLY: Mapping[str, Any] = {
    "cloud_init_modules": ["write_files", "set_hostname", "users_groups", "ssh"],
    "cloud_config_modules": [],
    "cloud_final_modules": [],
    "locale": False,
    "no_ssh_fingerprints": True,
    "ssh": {"emit_keys_to_console": False},
}


def network(lab: LabState, machine: MachineState) -> Network:
    """Static addresses on all cards, so that there is no DHCP to wait for, unless libvirt has a network.

    With the addresses of production: see `lab.productive`.
    """
    out = lab.way_out(machine)
    addresses = {plug.network: [f"{plug.address}/{plug.prefix}"] for plug in machine.cards}
    routes: dict[str, list[Route]] = {}
    for item in kept(machine.name, {other.name: (other.host, other.cards) for other in lab.machines}):
        if item.via:
            routes.setdefault(item.network, []).append(Route(f"{item.address}/32", item.via))
        else:
            addresses[item.network].append(f"{item.address}/32")
    if lab.nat:
        # libvirt's dnsmasq gives address, names and, where there is one, the way out.
        management = Interface(MANAGEMENT, mac=machine.management_mac, rename=True, dhcp4=True)
    else:
        management = Interface(
            MANAGEMENT,
            mac=machine.management_mac,
            rename=True,
            addresses=(f"{MANAGEMENT_ADDRESS}/24",),
            gateway4=MANAGEMENT_GATEWAY if out else None,
            nameservers=(MANAGEMENT_DNS,) if out else (),
        )
    return Network(
        (
            management,
            *(
                Interface(
                    plug.device,
                    mac=plug.mac,
                    rename=True,
                    addresses=tuple(addresses[plug.network]),
                    routes=tuple(routes.get(plug.network, ())),
                )
                for plug in machine.cards
            ),
        )
    )


def seed_files(lab: LabState, machine: MachineState, *, host_key: HostKey, user_key: PublicKey) -> SeedFiles:
    """The files of the machine's NoCloud volume."""
    hosts: dict[str, str] = {}
    for other in lab.machines:
        cards = met(machine.cards, other.cards)
        # Machines without a network in common have no name for each other.
        if other.name == machine.name or cards is None:
            continue
        hosts[other.name] = cards[1].address
        if not is_address(other.host):
            hosts[other.host.lower()] = cards[1].address
    seed = Seed(
        hostname=machine.name,
        users=(User(lab.user, keys=(user_key,)),),
        host_keys=(host_key,),
        network=network(lab, machine),
        # The disk decides what is a new machine, not the list of its neighbours.
        instance_id=f"freehold-{machine.uuid}",
        hosts=hosts,
        extra=IDENTITY_ONLY,
        fqdn=full_name(machine.host),
    )
    rendered = render_seed(seed, allow_secrets=True)
    # cloud-init checks user-data against its schema, which costs two seconds of an emulated processor, and
    # takes the same words as vendor-data without: this seed was made by a program that is tested.
    return replace(rendered, user_data="", vendor_data=rendered.user_data)


def full_name(host: str) -> str:
    """A host of the deploy file as the full name of its machine; empty where it is none."""
    name = host.lower()
    full = "." in name and not is_address(name) and re.fullmatch(HOSTNAME, name)
    return name if full else ""


def known_hosts(entries: list[tuple[MachineState, HostKey]]) -> str:
    """The known_hosts file of a lab: each machine under its loopback address and port."""
    return "".join(f"{key.known_hosts(machine.address, machine.ssh_port)}\n" for machine, key in entries)
