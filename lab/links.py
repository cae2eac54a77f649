"""The cables of a lab, whoever carries it: cut, spoiled, apart, whole again.

The lab's own switch knows how its links are. Of libvirt's networks that is kept in a file of the lab.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from freehold.files import write_atomic
from lab.hypervisors import networks
from lab.natnet import apart, lan_name, lan_xml
from lab.networks import Plug
from lab.state import LabState, MachineState
from lab.switch import Link
from lab.usernet import CARD
from lab.virt import ALIVE, Virt
from lab.virtnet import set_cable
from lab.wire import Wire

NOTE = "links.json"


class OwnLinks:
    """Between the machines the lab's switch; from this computer QEMU's own card."""

    # The switch spoils links by itself.
    inside = False

    def __init__(self, virt: Virt, state: LabState) -> None:
        self.virt, self.state, self.wire = virt, state, Wire(state.runtime)

    def lan(self, machine: MachineState, plugs: Sequence[Plug], *, up: bool) -> None:
        """Cables to the other machines."""
        for plug in plugs:
            self.wire.fault(plug.port(machine.name), cut=not up)

    def management(self, machine: MachineState, *, up: bool) -> None:
        """The cable to this computer."""
        self.virt.monitor(machine.uuid, "set_link", name=CARD, up=up)

    def spoil(self, machine: MachineState, plugs: Sequence[Plug], link: Link) -> None:
        """Delay, lose and slow down what goes over cables to the others."""
        for plug in plugs:
            self.wire.fault(
                plug.port(machine.name), delay=link.delay, jitter=link.jitter, loss=link.loss, rate=link.rate
            )

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """Keep groups of machines apart, on all of their networks."""
        ports = {item.name: [plug.port(item.name) for plug in item.cards] for item in self.state.machines}
        self.wire.partition([[port for name in group for port in ports[name]] for group in groups])

    def heal(self) -> None:
        """Every cable to the others is whole."""
        self.wire.heal()


class LibvirtLinks:
    """Cards of libvirt's networks: their cables, and other networks for groups that are apart."""

    # A network of libvirt's cannot delay: the machine does it itself, see `guestlink`.
    inside = True

    def __init__(self, virt: Virt, state: LabState) -> None:
        self.virt, self.state = virt, state

    def lan(self, machine: MachineState, plugs: Sequence[Plug], *, up: bool) -> None:
        for plug in plugs:
            set_cable(self.virt, machine.uuid, plug.mac, up=up)
            self._note(plug.port(machine.name), cut=not up)

    def management(self, machine: MachineState, *, up: bool) -> None:
        set_cable(self.virt, machine.uuid, machine.management_mac, up=up)

    def spoil(self, machine: MachineState, plugs: Sequence[Plug], link: Link) -> None:
        for plug in plugs:
            self._note(
                plug.port(machine.name), delay=link.delay, jitter=link.jitter, loss=link.loss, rate=link.rate
            )

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        places = {name: number for number, group in enumerate(groups, 1) for name in group}
        note = read_note(self.state)
        groups_of_ports = {
            plug.port(machine.name): places[machine.name]
            for machine in self.state.machines
            if machine.name in places
            for plug in machine.cards
        }
        # First: `heal` has to undo what is broken off half-way.
        _write_note(self.state, {**note, "groups": groups_of_ports})
        wanted = set()
        for hypervisor in self.state.hypervisors:
            theirs = networks(self.virt, hypervisor)
            for number, network in {
                (places.get(item.name, 0), plug.network)
                for item in self.state.on(hypervisor)
                for plug in item.cards
            }:
                name = lan_name(self.state, number, network)
                theirs.ensure(name, lan_xml(self.state, number, network))
                wanted.add(name)
        for machine, plug in self._running():
            cut = bool(note["links"].get(plug.port(machine.name), {}).get("cut"))
            there = lan_name(self.state, places.get(machine.name, 0), plug.network)
            set_cable(self.virt, machine.uuid, plug.mac, up=not cut, network=there)
        self._remove_apart(keep=wanted)

    def heal(self) -> None:
        note = read_note(self.state)
        if not note["links"] and not note["groups"]:
            return
        for machine, plug in self._running():
            there = lan_name(self.state, network=plug.network)
            set_cable(self.virt, machine.uuid, plug.mac, up=True, network=there)
        self._remove_apart()
        _write_note(self.state, {"links": {}, "groups": {}})

    def _remove_apart(self, keep: Collection[str] = ()) -> None:
        """Remove the networks of groups, whoever made them, that nobody is in any more."""
        for hypervisor in self.state.hypervisors:
            theirs = networks(self.virt, hypervisor)
            mine = [item.name for item in theirs.owned() if item.token == self.state.token]
            for name in apart(self.state, mine):
                if name not in keep:
                    theirs.remove(name)

    def _running(self) -> list[tuple[MachineState, Plug]]:
        """The cards of all machines that run."""
        return [
            (item, plug)
            for item in self.state.machines
            if self.virt.state(item.uuid) in ALIVE
            for plug in item.cards
        ]

    def _note(self, port: str, **changes: Any) -> None:
        note = read_note(self.state)
        before = note["links"].get(port, asdict(Link()))
        note["links"][port] = {**before, **changes}
        _write_note(self.state, note)


def links(virt: Virt, state: LabState) -> OwnLinks | LibvirtLinks:
    """The cables of a lab."""
    return LibvirtLinks(virt, state) if state.nat else OwnLinks(virt, state)


def told(state: LabState) -> Mapping[str, Any]:
    """How links and groups are, for a picture: nothing where nobody knows."""
    if state.nat:
        return read_note(state)
    wire = Wire(state.runtime)
    return wire.ask("state") if wire.pid is not None else {}


def read_note(state: LabState) -> dict[str, Any]:
    """What is broken on libvirt's networks: `links` and `groups` by port, as the lab's switch calls them."""
    try:
        found = json.loads((state.directory / NOTE).read_text())
    except (OSError, ValueError):
        return {"links": {}, "groups": {}}
    return {"links": dict(found["links"]), "groups": dict(found["groups"])}


def _write_note(state: LabState, note: Mapping[str, Any]) -> None:
    write_atomic(state.directory / NOTE, json.dumps(note) + "\n", 0o600)
