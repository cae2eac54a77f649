"""Keys that are read and checked but can have no meaning here. The loader refuses them by name.

A pattern is a dotted path with `*` for one key. A key is refused, not passed over: whoever wrote it
wants something that would not be done.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why a key cannot be honoured, and what to write instead."""

    reason: str
    hint: str


_NO_IMAGE = Refusal(
    "the proxy is a program of the host, Caddy under systemd, and comes from no image",
    "take the key out; the proxy comes with `freehold setup` from your computer, through no registry",
)
_PROXY = {
    "run.registry": _NO_IMAGE,
    "run.repository": _NO_IMAGE,
    "run.version": Refusal(
        "the versions of Kamal's proxy are not those of Caddy, which Freehold brings along",
        "take the key out; `freehold proxy upgrade` brings hosts to the Caddy of this Freehold",
    ),
    "run.options": Refusal(
        "the proxy is a service of systemd, which `docker run` does not start",
        "take the key out; limits go into a drop-in of the unit, in config/host.yml: files: "
        "[{path: /etc/systemd/system/freehold-proxy.service.d/limits.conf, "
        'content: "[Service]\\nMemoryMax=512M\\nCPUQuota=50%\\n"}]',
    ),
}

REFUSED: Mapping[str, Refusal] = types.MappingProxyType(
    {
        **{
            f"{owner}proxy.{key}": refusal
            for owner in ("", "servers.*.", "accessories.*.")
            for key, refusal in _PROXY.items()
        },
        "accessories.*.proxy.loadbalancer": Refusal(
            "the hosts of an accessory have data of their own each, so that it matters which of them answers",
            "take the key out; what any host can answer is a role",
        ),
    }
)
