"""The reference of the files of `config/`: sections, keys and the JSON schema, out of the declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudinit.profile import HostProfile
from deployer.config.accessory import AccessorySettings
from deployer.config.backups import BackupSettings
from deployer.config.connection import Ssh, Sshkit
from deployer.config.delivery import Builder, Registry
from deployer.config.document import Document
from deployer.config.env import RootEnv
from deployer.config.jobs import JobSettings
from deployer.config.logs import Logging, Output
from deployer.config.proxy import Healthcheck, Proxy
from deployer.config.servers import Boot, RoleSettings
from freehold.errors import UsageError
from freehold.reference import KeyDoc, json_schema, nothing_required, reference
from freehold.settings import near
from lab.labfile import LabFile

SECTIONS: Mapping[str, tuple[str, type[Any]]] = {
    "configuration": ("", Document),
    "servers": ("servers.ROLE.", RoleSettings),
    "role": ("servers.ROLE.", RoleSettings),
    "env": ("env.", RootEnv),
    "proxy": ("proxy.", Proxy),
    "builder": ("builder.", Builder),
    "registry": ("registry.", Registry),
    "healthcheck": ("proxy.healthcheck.", Healthcheck),
    "accessory": ("accessories.NAME.", AccessorySettings),
    "accessories": ("accessories.NAME.", AccessorySettings),
    "boot": ("boot.", Boot),
    "logging": ("logging.", Logging),
    "output": ("output.", Output),
    "ssh": ("ssh.", Ssh),
    "sshkit": ("sshkit.", Sshkit),
    "jobs": ("jobs.NAME.", JobSettings),
    "backups": ("backups.ACCESSORY.", BackupSettings),
    "host": ("", HostProfile),
    "lab": ("", LabFile),
}
"""Sections as `kamal docs` names them, and Freehold's own: the prefix of their keys, and the declaration.

`host` is `config/host.yml`, `lab` is `config/lab.yml`.
"""
KEYS = {
    "alias": ("aliases",),
    "aliases": ("aliases",),
    "hooks": ("hooks_path", "hooks_output"),
    "secrets": ("secrets_path",),
}
"""Sections that are keys at the top of the file."""
NAMES = (*SECTIONS, *KEYS)


def section(name: str) -> list[KeyDoc]:
    """The keys of a section; of `configuration` those at the top of the file. UsageError: no such section."""
    if name in KEYS:
        return [row for row in section("configuration") if row.path in KEYS[name]]
    if name not in SECTIONS:
        guess = near(name, NAMES)
        hint = f"did you mean {guess!r}?" if guess else f"there are: {', '.join(NAMES)}"
        raise UsageError(f"there is no section {name!r}", hint=hint)
    prefix, declaration = SECTIONS[name]
    rows = reference(declaration, prefix)
    return [row for row in rows if "." not in row.path] if name == "configuration" else rows


FILES: Mapping[str, tuple[str, type[Any]]] = {
    "configuration": ("config/deploy.yml", Document),
    "destination": ("config/deploy.DESTINATION.yml", Document),
    "host": ("config/host.yml", HostProfile),
    "lab": ("config/lab.yml", LabFile),
}
"""Files with a JSON schema of their own. In a destination's no key is required, as the base may have it."""


def schema(name: str = "configuration") -> dict[str, Any]:
    """The JSON schema of a file of `config/`, for editors. UsageError: the section is no file."""
    if name not in FILES:
        raise UsageError(f"{name!r} is no file with a schema", hint=f"there are: {', '.join(FILES)}")
    title, declaration = FILES[name]
    found = json_schema(declaration, title=title, extensions=True)
    return dict(nothing_required(found)) if name == "destination" else found
