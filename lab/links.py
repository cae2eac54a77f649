"""The cables of a lab, whoever carries it: cut, spoiled, apart, whole again.

The lab's own switch knows how its links are. Of libvirt's networks that is kept in a file of the lab.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from freehold.files import write_atomic
from lab.hypervisors import networks
from lab.natnet import lan_name, lan_xml
from lab.state import LabState, MachineState
from lab.switch import Link
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

    def lan(self, machine: MachineState, *, up: bool) -> None:
        """The cable to the other machines."""
        self.wire.fault(machine.name, cut=not up)

    def management(self, machine: MachineState, *, up: bool) -> None:
        """The cable to this computer."""
        self.virt.monitor(machine.uuid, "set_link", name="card-management", up=up)

    def spoil(self, machine: MachineState, link: Link) -> None:
        """Delay, lose and slow down what goes over the cable to the others."""
        self.wire.fault(machine.name, delay=link.delay, jitter=link.jitter, loss=link.loss, rate=link.rate)

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """Keep groups of machines apart."""
        self.wire.partition(groups)

    def heal(self) -> None:
        """Every cable to the others is whole."""
        self.wire.heal()


class LibvirtLinks:
    """Cards of libvirt's networks: their cables, and other networks for groups that are apart."""

    # A network of libvirt's cannot delay: the machine does it itself, see `guestlink`.
    inside = True

    def __init__(self, virt: Virt, state: LabState) -> None:
        self.virt, self.state = virt, state

    def lan(self, machine: MachineState, *, up: bool) -> None:
        set_cable(self.virt, machine.uuid, machine.lan_mac, up=up)
        self._note(machine, cut=not up)

    def management(self, machine: MachineState, *, up: bool) -> None:
        set_cable(self.virt, machine.uuid, machine.management_mac, up=up)

    def spoil(self, machine: MachineState, link: Link) -> None:
        self._note(machine, delay=link.delay, jitter=link.jitter, loss=link.loss, rate=link.rate)

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        places = {name: number for number, group in enumerate(groups, 1) for name in group}
        note = read_note(self.state)
        for hypervisor in self.state.hypervisors:
            theirs = networks(self.virt, hypervisor)
            for number in {places.get(item.name, 0) for item in self.state.on(hypervisor)}:
                theirs.ensure(lan_name(self.state, number), lan_xml(self.state, number))
        for machine in self._running():
            cut = bool(note["links"].get(machine.name, {}).get("cut"))
            network = lan_name(self.state, places.get(machine.name, 0))
            set_cable(self.virt, machine.uuid, machine.lan_mac, up=not cut, network=network)
        _write_note(self.state, {**note, "groups": places})

    def heal(self) -> None:
        note = read_note(self.state)
        if not note["links"] and not note["groups"]:
            return
        for machine in self._running():
            set_cable(self.virt, machine.uuid, machine.lan_mac, up=True, network=lan_name(self.state))
        for hypervisor in self.state.hypervisors:
            theirs = networks(self.virt, hypervisor)
            for number in set(note["groups"].values()):
                theirs.remove(lan_name(self.state, number))
        _write_note(self.state, {"links": {}, "groups": {}})

    def _running(self) -> list[MachineState]:
        return [item for item in self.state.machines if self.virt.state(item.uuid) in ALIVE]

    def _note(self, machine: MachineState, **changes: Any) -> None:
        note = read_note(self.state)
        before = note["links"].get(machine.name, asdict(Link()))
        note["links"][machine.name] = {**before, **changes}
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
    """What is broken on libvirt's networks: `links` and `groups` by machine."""
    try:
        found = json.loads((state.directory / NOTE).read_text())
    except (OSError, ValueError):
        return {"links": {}, "groups": {}}
    return {"links": dict(found["links"]), "groups": dict(found["groups"])}


def _write_note(state: LabState, note: Mapping[str, Any]) -> None:
    write_atomic(state.directory / NOTE, json.dumps(note) + "\n", 0o600)
