"""A seed: what makes one machine out of an image. user-data, meta-data, network-config, vendor-data."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cloudinit.cloudconfig import recipe_config, render, users_of
from cloudinit.hostkeys import HostKey
from cloudinit.network import Network
from cloudinit.ownparts import OwnPart
from cloudinit.parts.users import secrets_of
from cloudinit.profile import HOSTNAME, HOSTNAME_MAX
from cloudinit.recipe import Recipe
from cloudinit.users import User
from freehold.errors import InputError
from freehold.yamlfile import dump


@dataclass(frozen=True)
class Seed:
    """The identity of a machine, and the recipe where the image does not have it baked in.

    `hosts` are further lines of /etc/hosts, name to address. Without `instance_id` the seed's
    content decides it, so that a changed seed is a new instance to cloud-init.
    """

    hostname: str
    users: tuple[User, ...] = (User("deploy"),)
    host_keys: tuple[HostKey, ...] = ()
    network: Network | None = None
    instance_id: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)
    fqdn: str = ""
    recipe: Recipe | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    network_version: Literal[1, 2] = 2
    network_text: str = ""
    """A network-config of the user's own, as it stands, in place of `network`."""
    parts: tuple[OwnPart, ...] = ()
    """The user's own files; each cloud-config among them is joined with the seed's."""
    vendor: OwnPart | None = None

    def __post_init__(self) -> None:
        own = (self.hostname, *([self.fqdn] if self.fqdn else []))
        for name in (*own, *self.hosts):
            # Others may be called by names with an underscore, which DNS knows no host by.
            if not re.fullmatch(HOSTNAME, name if name in own else name.replace("_", "x")):
                raise InputError(
                    f"{name!r} is no host name",
                    hint="lower case letters, digits, - and dots; for example web-1",
                )
        if len(self.hostname) > HOSTNAME_MAX:
            raise InputError(
                f"the host name {self.hostname} is longer than Linux takes: {HOSTNAME_MAX} characters",
                hint="say a shorter one in config/host.yml: machines.NAME.hostname",
            )
        if self.network is not None and self.network_text:
            raise InputError(
                f"{self.hostname} would have two network-configs",
                hint="leave out --network-config, or machines.NAME.network in config/host.yml",
            )
        for name, address in self.hosts.items():
            try:
                ipaddress.ip_address(address)
            except ValueError as exc:
                raise InputError(f"the host {name}: {exc}") from exc


@dataclass(frozen=True)
class SeedFiles:
    """The files of a seed as text. `network_config` is None where the image's default serves."""

    user_data: str
    meta_data: str
    vendor_data: str
    network_config: str | None

    def files(self) -> dict[str, bytes]:
        """File name to content, as a NoCloud volume or directory holds them."""
        texts = {
            "user-data": self.user_data,
            "meta-data": self.meta_data,
            "vendor-data": self.vendor_data,
            "network-config": self.network_config,
        }
        return {name: text.encode() for name, text in texts.items() if text is not None}


def render_seed(seed: Seed, *, allow_secrets: bool = False) -> SeedFiles:
    """The files of a seed: the same seed gives the same bytes.

    Private host keys and password hashes are secrets, and a provider keeps user-data where every
    program on the machine may read it: InputError unless `allow_secrets`.
    """
    if not allow_secrets:
        _refuse_secrets(seed)
    user_data = render(_user_data(seed))
    network = _network(seed)
    own = [part.text for part in (*seed.parts, *([seed.vendor] if seed.vendor else []))]
    content = json.dumps([user_data, network, seed.hostname, seed.fqdn, *own]).encode()
    instance = seed.instance_id or f"freehold-{hashlib.sha256(content).hexdigest()[:16]}"
    meta = {"instance-id": instance, "local-hostname": seed.hostname}
    # cloud-init warns about a missing vendor-data, and reads an empty one quietly.
    return SeedFiles(user_data, dump(meta), seed.vendor.text if seed.vendor else "", network)


def _network(seed: Seed) -> str | None:
    if seed.network_text or seed.network is None:
        return seed.network_text or None
    return dump(seed.network.v1() if seed.network_version == 1 else seed.network.v2())


def _refuse_secrets(seed: Seed) -> None:
    found = []
    if seed.host_keys:
        found.append("private SSH host keys")
    found += secrets_of(seed.users)
    found += [] if seed.recipe is None else [item for item in seed.recipe.secrets if item not in found]
    own = (*seed.parts, *([seed.vendor] if seed.vendor else []))
    found += [str(leak) for part in own for leak in part.leaks]
    if found:
        raise InputError(
            f"the seed of {seed.hostname} would carry secrets: {', '.join(found)}",
            hint="use --allow-secrets where the seed stays in your own hands, such as an ISO",
        )


def _user_data(seed: Seed) -> dict[str, Any]:
    config: dict[str, Any] = {"hostname": seed.hostname}
    if seed.fqdn:
        config["fqdn"] = seed.fqdn
    config["preserve_hostname"] = False
    config["users"] = users_of(seed.users, groups=seed.recipe is None)
    # Keys only; root keeps whatever the recipe's sshd settings allow.
    config["ssh_pwauth"] = False
    config["disable_root"] = False
    if seed.host_keys:
        config["ssh_deletekeys"] = True
        config["ssh_genkeytypes"] = ["ed25519"]
        # cloud-init takes one key of a kind; the last one named stands.
        key = seed.host_keys[-1]
        config["ssh_keys"] = {"ed25519_private": key.private.reveal(), "ed25519_public": key.public}
    parts = [recipe_config(seed.recipe)] if seed.recipe is not None else []
    hosts = _hosts(seed)
    if hosts:
        # cloud-init's own management of the file would write it anew afterwards.
        config["manage_etc_hosts"] = False
        parts.insert(0, {"write_files": [{"path": "/etc/hosts", "content": hosts, "append": True}]})
    elif _names_itself(seed):
        # cloud-init keeps a line of the host's own and leaves the others alone; but it puts a new one behind
        # a former one that lacks the full name, and then the former counts.
        config["manage_etc_hosts"] = "localhost"
        line = f"127.0.1.1 {seed.fqdn} {seed.hostname}"
        parts.insert(0, {"bootcmd": [["sed", "-i", f"s/^127\\.0\\.1\\.1\\s.*/{line}/", "/etc/hosts"]]})
    for part in [*parts, dict(seed.extra), *(dict(own.config) for own in seed.parts)]:
        _merge(config, part)
    return config


def _names_itself(seed: Seed) -> bool:
    """Whether a vendor's cloud-init has to give the host its full name: neither recipe nor user-data does."""
    if not seed.fqdn or seed.recipe is None or any("manage_etc_hosts" in own.config for own in seed.parts):
        return False
    return "name" not in {step.name for step in seed.recipe.steps}


def _merge(config: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, list) and isinstance(config.get(name), list):
            config[name] = [*config[name], *value]
        else:
            config[name] = value


def _hosts(seed: Seed) -> str:
    if not seed.hosts:
        return ""
    # sudo looks its own host up; the loopback line answers without DNS.
    own = " ".join(dict.fromkeys(filter(None, (seed.fqdn, seed.hostname))))
    lines = [f"127.0.1.1 {own}"]
    lines += [f"{address} {name}" for name, address in sorted(seed.hosts.items()) if name != seed.hostname]
    return "\n".join(lines) + "\n"
