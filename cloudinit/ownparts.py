"""Files that a user adds to a seed: cloud-config, scripts, a network-config. Read, checked, located.

What a part is, its first line says: https://cloudinit.readthedocs.io/en/latest/explanation/format.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudinit import leaks, schemas
from cloudinit.leaks import Leak
from cloudinit.ownnetwork import check_network
from freehold import yamlfile
from freehold.errors import ConfigError
from freehold.source import Location
from freehold.yamlfile import Node

CLOUD_CONFIG = "text/cloud-config"
# First word of a file to its MIME type, the longer first.
_TYPES = {
    "#cloud-config-archive": "",
    "#cloud-config": CLOUD_CONFIG,
    "#cloud-boothook": "text/cloud-boothook",
    "#include-once": "text/x-include-once-url",
    "#include": "text/x-include-url",
    "#!": "text/x-shellscript",
}
# What the seed itself says: said twice, one of them would win silently.
_OWN_KEYS = {
    "hostname": "the seed takes the name it is made for",
    "fqdn": "say it in config/host.yml: machines.NAME.fqdn",
    "preserve_hostname": "the seed sets the host name",
    "prefer_fqdn_over_hostname": "the seed sets the host name",
    "ssh_keys": "use --host-key",
    "ssh_deletekeys": "use --host-key",
    "ssh_pwauth": "a host takes keys only",
    "disable_root": "say it in config/host.yml: ssh.root",
    "network": "say it in config/host.yml: machines.NAME.network, or use --network-config",
    "timezone": "say it in config/host.yml: timezone",
    "locale": "say it in config/host.yml: locale",
    "ntp": "say it in config/host.yml: ntp",
    "swap": "say it in config/host.yml: swap",
}


@dataclass(frozen=True)
class OwnPart:
    """A file of the user's: its MIME type, its text, for cloud-config its document too."""

    name: str
    type: str
    text: str
    config: Mapping[str, Any]
    leaks: tuple[Leak, ...]


def read_part(path: Path, name: str, *, own_keys: bool = True) -> OwnPart:
    """Read a file of user-data or vendor-data; ConfigError at what cloud-init would not take.

    `own_keys`: refuse keys that the seed itself sets.
    """
    text = yamlfile.read_text(path, name)
    first = text.split("\n", 1)[0].rstrip()
    kind = next((kind for word, kind in _TYPES.items() if first.startswith(word)), "")
    if not kind:
        raise ConfigError(
            f"cloud-init would not know what this is: the first line is {first[:40]!r}",
            where=Location(name, 1),
            hint="begin with #cloud-config, #!/bin/sh, #cloud-boothook or #include",
        )
    if kind != CLOUD_CONFIG:
        return OwnPart(name, kind, text, {}, tuple(leaks.in_text(text, Location(name, 1))))
    node = yamlfile.parse(text, name)
    if node.kind == "null":
        return OwnPart(name, kind, text, {}, ())
    schemas.validate(node, "cloud-config")
    if own_keys:
        _refuse_own(node)
    return OwnPart(name, kind, text, node.plain(), tuple(leaks.in_cloud_config(node)))


def _refuse_own(node: Node) -> None:
    for key, entry in node.items():
        if key in _OWN_KEYS:
            raise ConfigError(
                f"the key {key!r} is the seed's own",
                where=entry.key_where or entry.where,
                hint=_OWN_KEYS[key],
            )


def read_network(path: Path, name: str, *, golden: bool = False) -> str:
    """A network-config of version 1 or 2 as it stands; ConfigError at what cloud-init would not take.

    And at what contradicts itself.

    `golden`: and at what it could not make on a golden image.
    """
    text = yamlfile.read_text(path, name)
    node = yamlfile.parse(text, name)
    schemas.validate_network(node)
    inner = node.get("network") or node
    check_network(inner)
    if golden:
        _refuse_made_devices(inner)
    return text


def _refuse_made_devices(node: Node) -> None:
    # The image's one renderer is systemd-networkd's, and cloud-init's writes no .netdev, which makes devices.
    for where in _made_devices(node):
        raise ConfigError(
            "cloud-init makes no bonds, bridges and VLANs on a golden image",
            where=where,
            hint="write .netdev and .network files into /etc/systemd/network with files: in config/host.yml",
        )


def _made_devices(node: Node) -> Iterator[Location]:
    for name, entry in node.items():
        if name in ("bonds", "bridges", "vlans"):
            yield entry.key_where or entry.where
    # Version 1 has one list of everything.
    for item in (node.get("config") or node).elements():
        kind = item.get("type")
        if kind is not None and kind.value in ("bond", "bridge", "vlan"):
            yield kind.key_where or kind.where
