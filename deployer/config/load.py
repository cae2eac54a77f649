"""Reading `config/deploy.yml` and the file of its destination."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployer.config import shorthand
from deployer.config.model import DeployConfig, Role
from deployer.config.parts import Boot, Builder, Env, Healthcheck, Proxy, Registry, Ssh
from deployer.secrets import load_secrets
from freehold import yamlfile
from freehold.errors import ConfigError
from freehold.process import Runner
from freehold.settings import convert, fail, read, unknown_key
from freehold.yamlfile import Node

DEFAULT_FILE = Path("config/deploy.yml")
_SECTIONS: dict[str, Any] = {
    "service": str, "image": str, "servers": Node, "env": Env, "proxy": Node, "ssh": Ssh,
    "registry": Registry, "builder": Builder, "boot": Boot, "volumes": tuple[str, ...],
    "labels": Node, "aliases": Node, "healthcheck": Healthcheck, "primary_role": str,
    "retain_containers": int, "hooks_path": str, "secrets_path": str, "deploy_timeout": float,
    "drain_timeout": float, "readiness_delay": float,
}  # fmt: skip


def load_config(
    root: Path,
    *,
    config_file: Path | None = None,
    destination: str | None = None,
    environ: Mapping[str, str],
    runner: Runner,
    version: str | None = None,
) -> DeployConfig:
    """Read the configuration of a project; ConfigError with file, line and key where it is wrong."""
    name = config_file or DEFAULT_FILE
    node = yamlfile.load(root / name, name=str(name))
    if destination:
        overlay = name.with_suffix(f".{destination}.yml")
        node = _merged(node, yamlfile.load(root / overlay, name=str(overlay)))
    values: dict[str, Any] = {}
    for key, entry in node.items():
        if key not in _SECTIONS:
            if key.startswith("x-"):
                continue
            unknown_key(key, entry, _SECTIONS)
        if entry.kind != "null":
            values[key] = convert(_SECTIONS[key], entry)
    for key in ("service", "servers"):
        if key not in values:
            fail(node, f"the key {key!r} is missing")
    warnings: list[str] = []
    proxy = values.get("proxy", Node({}, node.where))
    if "healthcheck" in values:
        warnings.append("the top-level 'healthcheck' is Kamal 1's; write it under 'proxy'")
        old = {"healthcheck": node.get("healthcheck") or Node({}, node.where)}
        proxy = _merged(Node(old, proxy.where), proxy)
    primary = values.get("primary_role", "web")
    secrets = load_secrets(root, destination, environ, runner, path=values.get("secrets_path"))
    keep = ("env", "ssh", "registry", "builder", "boot", "volumes", "retain_containers", "deploy_timeout",
            "drain_timeout", "readiness_delay", "hooks_path")  # fmt: skip
    return DeployConfig(
        service=values["service"],
        image=values.get("image", values["service"]),
        roles=_roles(values["servers"], proxy, primary),
        destination=destination,
        file=str(name),
        primary_role_name=primary,
        labels=shorthand.clear_env(values["labels"]) if "labels" in values else {},
        aliases=shorthand.clear_env(values["aliases"]) if "aliases" in values else {},
        warnings=(*warnings, *secrets.warnings),
        secrets=secrets,
        **{key: values[key] for key in keep if key in values},
    )


def _merged(base: Node, over: Node) -> Node:
    if base.kind != "map" or over.kind != "map":
        return over
    entries = dict(base.items())
    for key, entry in over.items():
        entries[key] = _merged(entries[key], entry) if key in entries else entry
    return Node(entries, base.where, base.key_where)


def _roles(servers: Node, proxy: Node, primary: str) -> tuple[Role, ...]:
    if servers.kind == "list":
        servers = Node({"web": servers}, servers.where)
    roles = []
    for name, entry in servers.items():
        if entry.kind == "list":
            entry = Node({"hosts": entry}, entry.where)
        known = ("hosts", "cmd", "proxy", "env", "options", "labels", "stop_timeout")
        for key, value in entry.items():
            if key not in known:
                unknown_key(key, value, known)
        hosts = entry.get("hosts")
        own = entry.get("proxy") or Node(name == primary, entry.where)
        options, labels, cmd = entry.get("options"), entry.get("labels"), entry.get("cmd")
        env, stop = entry.get("env"), entry.get("stop_timeout")
        role = Role(
            name=name,
            hosts=convert(tuple[str, ...], hosts) if hosts else (),
            cmd=convert(str, cmd) if cmd else None,
            proxy=read(Proxy, _merged(proxy, own) if own.kind == "map" else proxy) if own.value else None,
            env=read(Env, env) if env else Env(),
            options=options.plain() if options else {},
            labels=shorthand.clear_env(labels) if labels else {},
            stop_timeout=shorthand.seconds(stop) if stop else None,
        )
        if not role.hosts:
            raise ConfigError(f"the role {name!r} has no hosts", where=entry.key_where or entry.where)
        roles.append(role)
    return tuple(roles)
