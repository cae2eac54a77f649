"""`config/deploy.yml` as it is written: every key at its top, declared once.

Names, defaults and meanings are those of Kamal 2.12. Validation, the JSON schema and the reference
page come out of these declarations.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config import shorthand
from deployer.config.accessory import AccessorySettings
from deployer.config.backups import BackupSettings, backups
from deployer.config.connection import Ssh, Sshkit
from deployer.config.delivery import Builder, Registry
from deployer.config.env import RootEnv, env_schema, root_env
from deployer.config.jobs import JobSettings, jobs
from deployer.config.logs import Logging, Output
from deployer.config.proxy import Healthcheck, Proxy, proxy_schema
from deployer.config.servers import Boot, RoleSettings, servers, servers_schema
from freehold.settings import fail, read, setting, unknown_key
from freehold.wording import describe
from freehold.yamlfile import Node

HOOKS = (
    "docker-setup",
    "pre-connect",
    "pre-build",
    "pre-deploy",
    "pre-app-boot",
    "post-app-boot",
    "post-deploy",
    "pre-proxy-reboot",
    "post-proxy-reboot",
)
_LEVELS = ("quiet", "verbose")


def hooks_output(node: Node) -> Mapping[str, str]:
    """`verbose` or `quiet` for all hooks (under the key ""), or by hook."""
    if node.kind != "map":
        return types.MappingProxyType({"": _level(node)})
    for name, entry in node.items():
        if name not in HOOKS:
            unknown_key(name, entry, HOOKS)
    return types.MappingProxyType({name: _level(entry) for name, entry in node.items()})


def _level(node: Node) -> str:
    level = shorthand.symbol(node)
    if level not in _LEVELS:
        fail(node, f"expected quiet or verbose, found {describe(node)}")
    return level


def accessories(node: Node) -> Mapping[str, AccessorySettings]:
    """Accessories by name."""
    if node.kind != "map":
        fail(node, f"expected a map of accessories, found {describe(node)}")
    for name, entry in node.items():
        if entry.kind == "map" and entry.get("image") is None:
            others = ", ".join(other for other, _ in node.items() if other != name)
            fail(
                entry.key_where or entry,
                f"the accessory {name!r} has no image",
                hint="write image: …" + (f"; or is another one meant: {others}" if others else ""),
            )
    return types.MappingProxyType({name: read(AccessorySettings, entry) for name, entry in node.items()})


@dataclass(frozen=True)
class Document:
    """The configuration of a service."""

    service: str = setting(
        help="Name of the service; containers are called after it.", pattern="[A-Za-z0-9_-]+", example="myapp"
    )
    image: str | None = setting(None, help="Image without registry and tag; `service` where absent.")
    servers: Mapping[str, RoleSettings] = setting(
        factory=dict,
        parse=servers,
        form="list of hosts, or map of roles",
        schema=shorthand.Deferred(servers_schema),
        help="Hosts, as a list or by role.",
    )
    proxy: Proxy | None = setting(
        None,
        parse=lambda node: _proxy(node),
        schema=shorthand.Deferred(proxy_schema),
        help="How requests reach the primary role.",
    )
    env: RootEnv = setting(
        factory=RootEnv,
        parse=root_env,
        schema=shorthand.Deferred(lambda: env_schema(RootEnv)),
        help="Environment of all roles.",
    )
    registry: Registry | None = setting(
        None, help="Registry for the image; without one, layers travel over SSH."
    )
    builder: Builder = setting(factory=Builder, help="How the image is built.")
    ssh: Ssh = setting(factory=Ssh, help="How to reach the hosts.")
    sshkit: Sshkit = setting(factory=Sshkit, help="Bounds on connections.")
    accessories: Mapping[str, AccessorySettings] = setting(
        factory=dict, parse=accessories, help="Services beside the application."
    )
    jobs: Mapping[str, JobSettings] = setting(
        factory=dict,
        parse=jobs,
        help="Commands that run by the clock, each on one host. Kamal has no such key.",
        example={"cleanup": {"schedule": "30 3 * * *", "cmd": "bin/rails cleanup"}},
    )
    backups: Mapping[str, BackupSettings] = setting(
        factory=dict,
        parse=backups,
        help="How accessories are backed up. Kamal has no such key.",
        example={"db": {"keep": 14}},
    )
    boot: Boot = setting(factory=Boot, help="How many hosts are started at once.")
    logging: Logging = setting(factory=Logging, help="Logging of containers.")
    output: Output = setting(factory=Output, help="Where the output of deploys goes besides the terminal.")
    aliases: Mapping[str, str] = setting(
        factory=dict,
        parse=lambda node: _aliases(node),
        schema={"type": "object", "additionalProperties": {"type": "string"}},
        help="Short names for commands.",
        example={"console": 'app exec -i --reuse "bin/rails console"'},
    )
    labels: Mapping[str, str] = setting(
        factory=dict, parse=shorthand.labels, schema=shorthand.SCALARS, help="Labels of all containers."
    )
    volumes: tuple[str, ...] = setting(
        (),
        parse=shorthand.volumes,
        schema=shorthand.VOLUMES,
        help="Volumes of all roles.",
        example="data:/rails/storage",
    )
    asset_path: str | None = setting(
        None,
        help="Directory of assets in the image; those of the last versions stay reachable. "
        "Options of the mount after a colon.",
        pattern="/.*",
        example="/rails/public/assets",
    )
    error_pages_path: str | None = setting(
        None, help="Directory of the project with 404.html, 500.html, … for the proxy.", example="public"
    )
    healthcheck: Healthcheck | None = setting(
        None, help="Kamal 1's place for `proxy.healthcheck`; read with a hint."
    )
    hooks_path: str | None = setting(
        None, help="Directory of hooks; `.freehold/hooks`, or `.kamal/hooks` where that is absent."
    )
    hooks_output: Mapping[str, str] = setting(
        factory=dict,
        parse=hooks_output,
        form="quiet | verbose, or map of these",
        schema={
            "anyOf": [
                {"type": "string", "pattern": "^:?(quiet|verbose)$"},
                {"type": "object", "additionalProperties": {"type": "string"}},
            ]
        },
        help="Show the output of hooks: `verbose` or `quiet`, for all or by hook.",
    )
    secrets_path: str | None = setting(
        None, help="Path of the secrets files; `.freehold/secrets`, or `.kamal/secrets` where that is absent."
    )
    require_destination: bool = setting(False, help="Refuse to run without `-d`.")
    primary_role: str = setting("web", help="The role that leads: first deployed, proxied by default.")
    allow_empty_roles: bool = setting(False, help="Let a role have no hosts.")
    retain_containers: int = setting(5, help="Versions kept on the hosts for a rollback.", minimum=1)
    minimum_version: str | None = setting(
        None, help="Oldest version of Kamal whose keys are needed.", pattern=r"v?\d+(\.\w+)*", example="2.0.0"
    )
    deploy_timeout: float = setting(
        30.0, parse=shorthand.seconds, schema=shorthand.SECONDS, help="Seconds for a container to get ready."
    )
    drain_timeout: float = setting(
        30.0, parse=shorthand.seconds, schema=shorthand.SECONDS, help="Seconds for requests to end."
    )
    readiness_delay: float = setting(
        7.0,
        parse=shorthand.seconds,
        schema=shorthand.SECONDS,
        help="Seconds a container without proxy and health check must keep running to count as ready.",
    )
    stop_timeout: float | None = setting(
        None, parse=shorthand.seconds, schema=shorthand.SECONDS, help="Seconds to stop after SIGTERM."
    )
    run_directory: str | None = setting(
        None,
        help="Without effect, as in Kamal 2: a service's files are in /var/lib/freehold/apps/<service>.",
    )


def _proxy(node: Node) -> Proxy | None:
    """The keys of the root's `proxy`; `true` and `false` turn it on and off for the primary role."""
    return None if node.kind == "bool" else read(Proxy, node)


def _aliases(node: Node) -> Mapping[str, str]:
    found = shorthand.clear_env(node)
    for name in found:
        entry = node.get(name) or node
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            fail(
                entry.key_where or entry,
                f"{name!r} is no name for an alias",
                hint="lowercase letters, digits, '-' and '_'",
            )
        if name in BUILT_IN:
            fail(
                entry.key_where or entry,
                f"the alias {name!r} would hide the command of that name",
                hint="choose another name",
            )
        if not found[name].strip():
            fail(entry, f"the alias {name!r} holds no command")
    return found


# The commands of Kamal; no alias of a file that Kamal accepts has one of these names.
BUILT_IN = frozenset(
    {
        *("accessory", "app", "audit", "build", "config", "deploy", "details", "docs", "help", "init"),
        *("lock", "proxy", "prune", "redeploy", "registry", "remove", "rollback", "secrets", "server"),
        *("setup", "upgrade", "version"),
    }
)
