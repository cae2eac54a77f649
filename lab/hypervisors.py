"""The hypervisors of a lab whose networks and disks libvirt keeps: chosen, made ready, emptied."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

from freehold.environment import which
from freehold.errors import LabError, ProcessError, UsageError
from freehold.process import Runner
from lab import accelerator, daemon
from lab.model import LabSpec
from lab.natnet import (
    POOLS,
    base_name,
    candidates,
    lan_name,
    lan_xml,
    management_xml,
    networks_at,
    records,
    routed,
)
from lab.state import Hypervisor, LabState
from lab.virt import Virt
from lab.virtnet import Networks, has_kvm
from lab.virtpool import Pool

SYSTEM = "qemu:///system"


def wanted(spec: LabSpec) -> dict[str, str]:
    """The libvirts by name where they carry the lab; none where the lab carries itself."""
    uris = dict(spec.hypervisors) or ({"": spec.uri} if spec.uri else {})
    for uri in uris.values():
        daemon.check_uri(uri)
    if spec.uri and spec.hypervisors:
        raise UsageError("`uri` and `hypervisors` exclude each other", hint="name it under `hypervisors:`")
    if len(set(uris.values())) != len(uris):
        raise UsageError(
            f"two hypervisors of the lab {spec.name} are the same libvirt", hint="keep one of the two names"
        )
    system = {name: uri for name, uri in uris.items() if "/system" in uri}
    if spec.network == "user":
        if spec.hypervisors or "+ssh://" in spec.uri:
            raise UsageError(
                "`network: user` is of this computer alone", hint="leave it out, or leave the hypervisors out"
            )
        return {}
    carried = system or ({"": SYSTEM} if spec.network == "nat" else {})
    isolated = [network.name for network in spec.networks if network.isolated]
    if carried and spec.internet and isolated:
        raise UsageError(
            f"{isolated[0]} is isolated, and libvirt's networks let all machines out with `internet: true`",
            hint="`network: user` can tell them apart, or leave `isolated` or `internet` out",
        )
    if spec.network == "nat" and not uris:
        return carried
    if len(system) != len(uris) and (system or spec.network == "nat"):
        raise UsageError(
            f"{next(uri for uri in uris.values() if uri not in system.values())} has no networks",
            hint="only a system libvirt has: write qemu:///system or qemu+ssh://USER@HOST/system",
        )
    return system


def planned(spec: LabSpec, token: str, virt: Virt, runner: Runner) -> tuple[Hypervisor, ...]:
    """The hypervisors of a new lab, without networks yet."""
    found = []
    for name, uri in wanted(spec).items():
        made = Hypervisor(name, uri, "tcg", "", POOLS / base_name(spec.name, token))
        kind = spec.accelerator
        if kind != "tcg":
            if made.remote:
                reason = "" if has_kvm(virt.connection(uri)) else "its libvirt offers none"
            else:
                reason = accelerator.choose(runner).reason
            if kind == "kvm" and reason:
                raise LabError(
                    f"{uri}: the lab {spec.name} asks for KVM, but {reason}",
                    hint="`accelerator: auto` takes what there is",
                )
            kind = "tcg" if reason else "kvm"
        found.append(replace(made, accelerator=kind))
    return tuple(found)


def check_same(spec: LabSpec, known: LabState) -> None:
    """UsageError where the files ask for another kind of lab than the one that is there."""
    there = {item.name: item.uri for item in known.hypervisors}
    asked = wanted(spec)
    # A libvirt that carries nothing is in neither list.
    elsewhere = bool(spec.uri) and not there and spec.uri != known.uri
    if elsewhere or ((spec.uri or spec.hypervisors or spec.network) and asked != there):
        place = "a libvirt of its own" if known.private else ", ".join(known.uris)
        raise UsageError(
            f"the lab {known.name} runs on {place}",
            hint="`freehold lab down` first, then bring it up elsewhere",
        )
    for machine in spec.machines:
        before = next((item for item in known.machines if item.name == machine.name), None)
        if before is not None and machine.hypervisor and machine.hypervisor != before.hypervisor:
            raise UsageError(
                f"{machine.name} runs on {before.hypervisor}, not on {machine.hypervisor}",
                hint="`freehold lab down` first, then bring it up elsewhere",
            )


def pool(virt: Virt, state: LabState, hypervisor: Hypervisor) -> Pool:
    """Where the lab's disks are on a hypervisor."""
    return Pool(virt.connection(hypervisor.uri), base_name(state.name, state.token), hypervisor.pool)


def networks(virt: Virt, hypervisor: Hypervisor) -> Networks:
    """The networks of a hypervisor."""
    return Networks(virt.connection(hypervisor.uri))


def make_ready(virt: Virt, state: LabState, runner: Runner) -> tuple[Hypervisor, ...]:
    """Networks and storage on every hypervisor, made where they are missing; with their subnets."""
    done: list[Hypervisor] = []
    for hypervisor in state.hypervisors:
        theirs = _carrying(virt, state, hypervisor)
        taken = [item.subnet for item in done]
        done.append(replace(hypervisor, subnet=_management(state, hypervisor, theirs, taken, runner)))
    return tuple(done)


def revive(virt: Virt, state: LabState, hypervisor: Hypervisor) -> None:
    """Start what a lab has on a hypervisor: libvirt does not after a reboot."""
    theirs = _carrying(virt, state, hypervisor)
    if not theirs.ensure(base_name(state.name, state.token), management_xml(state, hypervisor.subnet)):
        raise _overlapping(hypervisor, hypervisor.subnet)
    _assign(virt, state, hypervisor)


def _carrying(virt: Virt, state: LabState, hypervisor: Hypervisor) -> Networks:
    pool(virt, state, hypervisor).ensure()
    theirs = networks(virt, hypervisor)
    for network in networks_at(state, hypervisor):
        theirs.ensure(lan_name(state, network=network), lan_xml(state, network=network))
    return theirs


def _overlapping(hypervisor: Hypervisor, subnet: str) -> LabError:
    return LabError(
        f"{hypervisor.uri}: the addresses {subnet} of the lab are another network's now",
        hint="`freehold lab down` and `up` pick others",
    )


def _management(
    state: LabState, hypervisor: Hypervisor, theirs: Networks, taken: Sequence[str], runner: Runner
) -> str:
    name = base_name(state.name, state.token)
    present = theirs.subnets()
    if name in present:
        # It may be stopped, after a reboot of the hypervisor.
        if not theirs.ensure(name, ""):
            raise _overlapping(hypervisor, present[name])
        return str(ipaddress.ip_network(present[name], strict=False))
    used = [*present.values(), *taken]
    if not hypervisor.remote:
        used += local_networks(runner)
    for subnet in candidates(state.name, hypervisor.name, used):
        if theirs.ensure(name, management_xml(state, subnet)):
            return subnet
    raise LabError(f"{hypervisor.uri}: no network of 198.19.0.0/16 is free")


def local_networks(runner: Runner) -> tuple[str, ...]:
    """The networks that this computer has or has routes to; none where `ip` is missing."""
    if which("ip") is None:
        return ()
    try:
        routes = runner.run(["ip", "-j", "-4", "route", "show", "table", "all"], timeout=10).stdout
        return routed(routes, runner.run(["ip", "-j", "-4", "address", "show"], timeout=10).stdout)
    except ProcessError:
        return ()


def assign(virt: Virt, state: LabState) -> None:
    """Tell every hypervisor's dnsmasq the machines that it has."""
    for hypervisor in state.hypervisors:
        _assign(virt, state, hypervisor)


def _assign(virt: Virt, state: LabState, hypervisor: Hypervisor) -> None:
    leases, names = records(state, hypervisor)
    networks(virt, hypervisor).assign(base_name(state.name, state.token), leases, names)


def empty_at(virt: Virt, uri: str, lab: str, token: str) -> list[str]:
    """Remove machines, networks and storage of a lab from one libvirt; what is left."""
    for item in virt.owned():
        if item.token == token:
            virt.remove(item.uuid)
    theirs = Networks(virt.connection(uri))
    for network in theirs.owned():
        if network.token == token:
            theirs.remove(network.name)
    name = base_name(lab, token)
    Pool(virt.connection(uri), name, POOLS / name).remove()
    return [
        *(f"network {item.name}" for item in theirs.owned() if item.token == token),
        *(f"machine {item.name}" for item in virt.owned() if item.token == token),
    ]
