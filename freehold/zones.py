"""Time zones, as configuration files name them."""

from __future__ import annotations

import re

from freehold.settings import convert, fail, near
from freehold.yamlfile import Node


def read_zone(node: Node) -> str:
    """The name of a time zone that there is."""
    name = convert(str, node)
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", name):
        fail(node, f"{name!r} is no time zone", hint="for example 'Europe/Berlin'")
    # Where this computer has no table of zones, the host's own has the word.
    zones = frozenset({name}) if _known(name) else _all()
    if zones and name not in zones:
        guess = near(name, sorted(zones))
        hint = f"did you mean {guess!r}?" if guess else "for example 'Europe/Berlin'"
        fail(node, f"there is no time zone {name!r}", hint=hint)
    return str(name)


def _known(name: str) -> bool:
    import zoneinfo  # not by every command that reads a file

    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return True


def _all() -> frozenset[str]:
    import zoneinfo

    return frozenset(zoneinfo.available_timezones())
