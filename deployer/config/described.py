"""A configuration as plain data, under Kamal's names: what `freehold config` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployer.config.accessory import Accessory, Mount
from deployer.config.delivery import Credential
from deployer.config.env import Env
from deployer.config.model import DeployConfig
from deployer.config.role import Role
from freehold.secret import Secret
from freehold.settings import keys_of
from freehold.yamlfile import Node

HIDDEN = "[redacted]"


def described(config: DeployConfig, version: str | None = None) -> dict[str, Any]:
    """A configuration as plain data; of secrets only the names.

    Without a `version` there is nothing of what is called after it.
    """
    named = {
        "version": version,
        "absolute_image": config.image_name(version or ""),
        "service_with_version": f"{config.service}-{version}",
    }
    return {
        "service": config.service,
        **({"destination": config.destination} if config.destination else {}),
        "image": config.image,
        "repository": config.repository,
        **(named if version else {}),
        **({"primary_host": config.primary_host} if config.roles else {}),
        "hosts": list(config.all_hosts),
        "roles": {role.name: _role(config, role) for role in config.roles},
        "volume_args": [word for volume in config.volumes for word in ("--volume", volume)],
        "ssh_options": plain(config.ssh),
        "sshkit": plain(config.sshkit),
        "builder": {**plain(config.builder), "args": _build_args(config)},
        "accessories": {item.name: _accessory(item) for item in config.accessories},
        "logging": list(config.logging.arguments()),
        "deploy_timeout": config.deploy_timeout,
        "drain_timeout": config.drain_timeout,
        "retain_containers": config.retain_containers,
    }


def _build_args(config: DeployConfig) -> dict[str, str]:
    """Build arguments; one that is the environment's may well be a secret."""
    args = config.builder.args
    return {name: HIDDEN if config.environ.get(name) == value else value for name, value in args.items()}


def _role(config: DeployConfig, role: Role) -> dict[str, Any]:
    return {
        "hosts": list(role.hosts),
        **({"cmd": role.cmd} if role.cmd else {}),
        "proxied": role.proxy is not None,
        **({"names": list(role.proxy.names), "app_port": role.proxy.app_port} if role.proxy else {}),
        "env": _env(config.env.merged(role.env)),
    }


def _accessory(item: Accessory) -> dict[str, Any]:
    server = item.registry.server if item.registry else None
    found = {
        "service": item.service,
        "image": item.image,
        "hosts": list(item.hosts),
        "cmd": item.cmd,
        "port": item.publish,
        "registry": {"server": server} if server else None,
        "env": _env(item.env),
        "labels": plain(item.labels),
        "options": plain(item.options),
        "files": [_mount(mount) for mount in item.files],
        "directories": [_mount(mount) for mount in item.directories],
        "volumes": list(item.volumes),
        "network": item.network,
        "proxy": plain(item.proxy) if item.proxy else None,
    }
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _env(env: Env) -> dict[str, Any]:
    return {"clear": dict(env.clear), "secret": list(env.secret)}


def _mount(mount: Mount) -> str:
    return f"{mount.local}:{mount.remote}"


def plain(value: Any) -> Any:
    """Values of the model as a file could say them; what is empty is left out, and no secret shown."""
    if isinstance(value, Secret | Credential):
        return HIDDEN
    if isinstance(value, Node):
        return value.plain()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {key.name: plain(getattr(value, key.field)) for key in keys_of(type(value)).values()}
        return {name: inner for name, inner in found.items() if inner not in (None, [], {})}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
