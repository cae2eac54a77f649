"""A lab as a picture (SVG): this computer, the machines, the networks between them. Rendering only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from lab.address import LAN_PREFIX
from lab.state import LabState, MachineState
from lab.topology import LAN

BOX, GAP, MARGIN = 190, 30, 30
HOST_Y, MACHINE_Y, WIRE_Y, WIRE_GAP = 30, 150, 330, 64
HOST_HEIGHT, MACHINE_HEIGHT = 50, 110
INK, SOFT, GOOD, BAD = "#1f2933", "#6b7785", "#2f7d4f", "#c0392b"


def svg(state: LabState, links: Mapping[str, Mapping[str, Any]], groups: Mapping[str, int]) -> str:
    """The picture. `links` and `groups` by port as the switch tells them; empty where it is silent."""
    count = len(state.machines)
    wires = {name: WIRE_Y + WIRE_GAP * row for row, name in enumerate(_wires(state))}
    width = 2 * MARGIN + count * BOX + (count - 1) * GAP
    height = WIRE_Y + WIRE_GAP * (len(wires) - 1) + 60
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "font-family": "ui-sans-serif, system-ui, sans-serif",
            "font-size": "12",
        },
    )
    ET.SubElement(root, "title").text = f"freehold lab {state.name}"
    _box(root, MARGIN, HOST_Y, width - 2 * MARGIN, HOST_HEIGHT)
    _text(root, width / 2, HOST_Y + 20, "this computer", weight="bold")
    _text(root, width / 2, HOST_Y + 38, f"{state.prefix}.0/24 on loopback", fill=SOFT)
    for name, wire in wires.items():
        _line(root, MARGIN, wire, width - MARGIN, wire, INK, thick=4)
        _text(root, width / 2, wire + 24, _wires(state)[name], fill=SOFT)
    for number, machine in enumerate(state.machines):
        left = MARGIN + number * (BOX + GAP)
        _machine(root, machine, left)
        for place, plug in enumerate(machine.cards, 1):
            port = plug.port(machine.name)
            trouble = describe(links.get(port, {}), groups.get(port, 0))
            x, wire = left + BOX * place / (len(machine.cards) + 1), wires[plug.network]
            _line(root, x, MACHINE_Y + MACHINE_HEIGHT, x, wire, BAD if trouble else INK, dashed=bool(trouble))
            _text(root, x, wire - 36, trouble or plug.address, fill=BAD if trouble else SOFT)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _wires(state: LabState) -> dict[str, str]:
    """What stands at each network, by name: `lan` unless nobody is on it, then the lab's further ones."""
    present = {plug.network for machine in state.machines for plug in machine.cards}
    lan = {LAN: f"between the machines: 198.18.0.0/{LAN_PREFIX}"} if LAN in present else {}
    further = {
        item.name: f"{item.name}: {item.subnet}{', isolated' if item.isolated else ''}"
        for item in state.networks
    }
    return {**lan, **further}


def _machine(root: ET.Element, machine: MachineState, left: float) -> None:
    middle = left + BOX / 2
    _line(root, middle, HOST_Y + HOST_HEIGHT, middle, MACHINE_Y, GOOD)
    ports = f"{machine.ssh_port} {machine.http_port} {machine.https_port}"
    _text(root, middle + 6, HOST_Y + HOST_HEIGHT + 40, f"{machine.address}: {ports}", fill=SOFT, size=10)
    _box(root, left, MACHINE_Y, BOX, MACHINE_HEIGHT)
    roles = ", ".join(machine.roles)
    lines = [
        machine.name,
        machine.host if machine.host != machine.name else "",
        roles,
        f"{machine.memory // 1024**2} MiB, {machine.cpus} CPU, {machine.disk // 1024**3} GiB",
    ]
    for row, line in enumerate(line for line in lines if line):
        weight = "bold" if row == 0 else "normal"
        _text(root, middle, MACHINE_Y + 24 + 22 * row, line, weight=weight, fill=INK if row == 0 else SOFT)


def describe(link: Mapping[str, Any], group: int = 0) -> str:
    """What is wrong with a machine's link, in a few words; nothing where it is whole."""
    words = ["cut"] if link.get("cut") else []
    if link.get("delay") or link.get("jitter"):
        jitter = f" ±{link['jitter'] * 1000:g}" if link.get("jitter") else ""
        words.append(f"{link.get('delay', 0) * 1000:g}{jitter} ms")
    if link.get("loss"):
        words.append(f"{link['loss'] * 100:g}% lost")
    if link.get("rate"):
        words.append(f"{link['rate'] / 1e6:g} Mbit/s")
    if group:
        words.append(f"group {group}")
    return ", ".join(words)


def _box(root: ET.Element, x: float, y: float, width: float, height: float) -> None:
    ET.SubElement(
        root,
        "rect",
        {
            "x": f"{x:g}",
            "y": f"{y:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "rx": "6",
            "fill": "#f7f9fb",
            "stroke": INK,
        },
    )


def _line(
    root: ET.Element,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    stroke: str,
    *,
    thick: int = 2,
    dashed: bool = False,
) -> None:
    ET.SubElement(
        root,
        "line",
        {
            **{name: f"{value:g}" for name, value in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))},
            "stroke": stroke,
            "stroke-width": str(thick),
            **({"stroke-dasharray": "5 4"} if dashed else {}),
        },
    )


def _text(
    root: ET.Element,
    x: float,
    y: float,
    text: str,
    *,
    fill: str = INK,
    weight: str = "normal",
    size: int = 12,
) -> None:
    ET.SubElement(
        root,
        "text",
        {
            "x": f"{x:g}",
            "y": f"{y:g}",
            "text-anchor": "middle",
            "fill": fill,
            "font-weight": weight,
            "font-size": str(size),
            # A white edge keeps words readable where they cross a line.
            "paint-order": "stroke",
            "stroke": "white",
            "stroke-width": "3",
        },
    ).text = text
