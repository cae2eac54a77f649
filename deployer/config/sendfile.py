"""`proxy.sendfile`: directories of a container whose files the proxy sends, and their place on the host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from deployer.config.proxy import DIRECTORY_PATTERN, Proxy
from freehold.settings import fail
from freehold.yamlfile import Node

if TYPE_CHECKING:
    from deployer.config.shorthand import OptionValue

# What the proxy's unit hides from it, or what only root reads.
HIDDEN = (
    *("/home", "/root", "${HOME}", "/run/user", "/tmp", "/var/tmp", "/var/lib/docker"),
    *("/dev", "/proc", "/sys"),
)
HINT = "mount a directory of the host there: volumes: [/srv/shop/storage:{inside}]"


def volumes_of(volumes: Iterable[str], options: Mapping[str, OptionValue]) -> tuple[str, ...]:
    """All volumes of a container, from `volumes` and from its options."""
    more = options.get("volume", ())
    return (*volumes, *((more,) if isinstance(more, str) else more if isinstance(more, tuple) else ()))


def sendfiles(proxy: Proxy, volumes: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The declared directories with their place on the host, the longest first; only those that have one."""
    mounts = _mounts(volumes)
    found = ((inside, _place(inside, mounts)) for inside in proxy.sendfile)
    return tuple(sorted(((i, o) for i, o in found if o), key=lambda pair: (-len(pair[0]), pair[0])))


def check_sendfile(node: Node, proxy: Proxy | None, volumes: Iterable[str]) -> None:
    """ConfigError for a directory that the proxy could not read from."""
    mounts = _mounts(volumes)
    for inside in proxy.sendfile if proxy is not None else ():
        place, hint = _place(inside, mounts), HINT.format(inside=inside)
        if place is None:
            fail(node, f"no volume holds {inside}, so the proxy cannot read it", hint=hint)
        if not place.startswith(("/", "${HOME}")):
            fail(node, f"{inside} is on the volume {place}, which only root reads on the host", hint=hint)
        if any(place == hidden or place.startswith(f"{hidden}/") for hidden in HIDDEN):
            fail(node, f"{inside} is {place} on the host, which is hidden from the proxy", hint=hint)
        if not re.fullmatch(DIRECTORY_PATTERN, place):
            fail(node, f"{inside} is on {place}, a path that the proxy's file cannot hold", hint=hint)


def _mounts(volumes: Iterable[str]) -> dict[str, str]:
    parts = (volume.split(":") for volume in volumes)
    return {part[1].rstrip("/"): part[0].rstrip("/") for part in parts if len(part) > 1}


def _place(inside: str, mounts: Mapping[str, str]) -> str | None:
    """Where a path of the container is; the name of a volume in front where it is on one."""
    holding = [mount for mount in mounts if inside == mount or inside.startswith(f"{mount}/")]
    if not holding:
        return None
    mount = max(holding, key=len)
    return mounts[mount] + inside[len(mount) :]
