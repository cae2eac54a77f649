"""What `server check` found, as a table and as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudinit.checks import Examined
from cloudinit.listeners import reach
from cloudinit.profile import HostProfile
from freehold.console import Console


def show(console: Console, found: Mapping[str, Examined], profiles: Mapping[str, HostProfile]) -> None:
    """The checks by host, what is not as it should be, and what listens."""
    if console.json:
        console.data({host: as_data(examined, profiles[host]) for host, examined in found.items()})
        return
    hosts = list(found)
    titles = [result.title for examined in list(found.values())[:1] for result in examined.results]
    rows = [
        [title, *("ok" if found[host].results[index].ok else "DRIFT" for host in hosts)]
        for index, title in enumerate(titles)
    ]
    console.table(["check", *hosts], rows)
    for host, examined in found.items():
        for result in examined.wrong:
            console.print(f"{host}: {result.title}: {result.detail}")
    console.print()
    console.table(
        ["host", "port", "address", "program", "open to"],
        [
            [host, item.name, item.address, item.program, reach(item, profiles[host])]
            for host, examined in found.items()
            for item in examined.listeners
        ],
    )


def as_data(examined: Examined, profile: HostProfile) -> dict[str, Any]:
    """One host for `--json`."""
    return {
        "checks": [
            {"id": result.id, "title": result.title, "ok": result.ok, "detail": result.detail}
            for result in examined.results
        ],
        "listeners": [
            {
                "port": item.port,
                "protocol": item.protocol,
                "address": item.address,
                "program": item.program,
                "container": item.container,
                "open_to": reach(item, profile),
            }
            for item in examined.listeners
        ],
    }
