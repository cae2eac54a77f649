"""From the file as it is written to the configuration as it runs: merging, cross-checks, warnings."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import replace

from deployer.config.around import Surroundings
from deployer.config.checks import (
    check_accessories,
    check_env,
    check_files,
    check_proxies,
    check_streams,
    check_tags,
    share_names,
    sharing,
)
from deployer.config.document import Document
from deployer.config.jobs import Job, JobSettings
from deployer.config.model import DeployConfig
from deployer.config.pattern import offer
from deployer.config.placing import accessory
from deployer.config.proxy import Proxy, read_proxy
from deployer.config.role import Role
from deployer.config.schedule import calendar
from deployer.config.servers import RoleSettings
from deployer.config.tree import at, merge
from freehold.settings import fail
from freehold.wording import describe
from freehold.yamlfile import Node

KAMAL_VERSION = (2, 12, 0)
"""The version of Kamal whose configuration this reads."""


def resolve(document: Document, node: Node, around: Surroundings) -> DeployConfig:
    """The configuration of `document`, read from `node`; ConfigError for keys that contradict one another."""
    warnings: list[str] = []
    _check_version(document, node)
    root_proxy = _root_proxy(node, warnings)
    if document.require_destination and around.destination is None:
        found = ", ".join(around.destinations) or "none found"
        fail(
            at(node, "require_destination"), "a destination is required", hint=f"choose one with -d: {found}"
        )
    roles = _roles(document, node, root_proxy, around)
    roles = share_names(roles, node)
    accessories = tuple(
        accessory(name, settings, document, node, roles, around)
        for name, settings in document.accessories.items()
    )
    if not roles and not accessories:
        fail(
            node.get("servers") or node,
            "no servers are named",
            hint=around.destination_hint("write the hosts under 'servers'"),
        )
    check_proxies(roles, accessories, node, warnings)
    check_files(roles, accessories, document.volumes, node)
    check_streams(roles, accessories, document.drain_timeout, node)
    check_tags(roles, document, node, warnings)
    check_env(document, roles, node, warnings)
    _check_run_directory(document, node, around, warnings)
    for name in document.backups:
        if name not in document.accessories:
            place = at(node, "backups", name)
            names = list(document.accessories)
            fail(place.key_where or place, f"there is no accessory {name!r}", hint=offer(name, names))
    config = DeployConfig(
        service=document.service,
        image=document.image or document.service,
        roles=roles,
        destination=around.destination,
        file=around.file,
        primary_role_name=document.primary_role,
        env=document.env,
        ssh=document.ssh,
        sshkit=document.sshkit,
        registry=document.registry,
        builder=replace(document.builder, args=_build_args(document, around)),
        boot=document.boot,
        accessories=accessories,
        logging=document.logging,
        output=document.output,
        volumes=document.volumes,
        labels=document.labels,
        jobs=tuple(_job(name, item, document, node, roles) for name, item in document.jobs.items()),
        backups=document.backups,
        aliases=document.aliases,
        asset_path=document.asset_path,
        error_pages_path=document.error_pages_path,
        deploy_timeout=document.deploy_timeout,
        drain_timeout=document.drain_timeout,
        readiness_delay=document.readiness_delay,
        stop_timeout=document.stop_timeout,
        retain_containers=document.retain_containers,
        sharing=sharing(roles, accessories),
        hooks_path=around.hooks_path,
        hooks_output=document.hooks_output,
        version=around.version,
        warnings=tuple(warnings),
        secrets=around.secrets,
        environ=around.environ,
    )
    check_accessories(config, document, node, warnings)
    return replace(config, warnings=tuple(warnings))


def _build_args(document: Document, around: Surroundings) -> dict[str, str]:
    """Build arguments; one without a value is the environment's, or else the Dockerfile's own default."""
    args = document.builder.args
    return {name: value if value.strip() else around.environ.get(name, "") for name, value in args.items()}


def _job(name: str, settings: JobSettings, document: Document, node: Node, roles: Sequence[Role]) -> Job:
    place = at(node, "jobs", name)
    wanted = settings.role or document.primary_role
    role = next((role for role in roles if role.name == wanted), None)
    if role is None:
        fail(at(place, "role"), f"there is no role {wanted!r}", hint=offer(wanted, [r.name for r in roles]))
    if not role.hosts:
        fail(place.key_where or place, f"the role {wanted!r} of this job has no hosts")
    host = settings.host or role.hosts[0]
    if host not in role.hosts:
        fail(
            at(place, "host"),
            f"{host!r} is no host of the role {wanted!r}, so its image is not there",
            hint=offer(host, list(role.hosts)),
        )
    return Job(
        name=name,
        schedule=settings.schedule,
        calendar=calendar(settings.schedule, settings.timezone),
        cmd=settings.cmd,
        role=wanted,
        host=host,
        timeout=settings.timeout,
        catch_up=settings.catch_up,
    )


def _check_version(document: Document, node: Node) -> None:
    if document.minimum_version is None:
        return
    parts = document.minimum_version.removeprefix("v").split(".")
    wanted = tuple(int(part) for part in parts if part.isdigit())
    if wanted > KAMAL_VERSION:
        known = ".".join(str(part) for part in KAMAL_VERSION)
        fail(
            at(node, "minimum_version"),
            f"the file needs Kamal {document.minimum_version}; Freehold reads what Kamal {known} reads",
            hint="lower minimum_version if the file uses no newer keys",
        )


def _check_run_directory(document: Document, node: Node, around: Surroundings, warnings: list[str]) -> None:
    if document.run_directory is None:
        return
    place, destination = at(node, "run_directory"), f"-{around.destination}" if around.destination else ""
    warnings.append(
        f"{place.key_where or place.where}: 'run_directory' has no effect, as in Kamal 2; what Freehold "
        f"keeps for this service is in /var/lib/freehold/apps/{document.service}{destination} on the hosts"
    )


def _root_proxy(node: Node, warnings: list[str]) -> Node:
    """The root's `proxy` as a map, with Kamal 1's `healthcheck` below it."""
    proxy = node.get("proxy")
    if proxy is None or proxy.kind == "bool":
        proxy = Node({}, proxy.where if proxy else node.where)
    old = node.get("healthcheck")
    if old is None:
        return proxy
    warnings.append(
        f"{old.key_where or old.where}: 'healthcheck' at the top is Kamal 1's; "
        "write it under 'proxy' (interval and timeout in seconds)"
    )
    return merge(Node({"healthcheck": old}, proxy.where, proxy.key_where), proxy)


def _roles(document: Document, node: Node, root_proxy: Node, around: Surroundings) -> tuple[Role, ...]:
    found: list[Role] = []
    root = node.get("proxy")
    for name, settings in document.servers.items():
        place = at(node, "servers", name)
        if not settings.hosts and not document.allow_empty_roles:
            fail(
                place.key_where or place,
                f"the role {name!r} has no hosts",
                hint=around.destination_hint("write them under 'hosts', or allow_empty_roles: true"),
            )
        primary = name == document.primary_role and (root is None or root.value is not False)
        found.append(_role(name, settings, document, primary, root_proxy))
    if found and document.primary_role not in document.servers:
        names = list(document.servers)
        fail(
            at(node, "primary_role" if node.get("primary_role") else "servers"),
            f"the primary role {document.primary_role!r} is not among the servers",
            hint=f"{offer(document.primary_role, names)} Name the leading role with 'primary_role'.",
        )
    if found and not next(role for role in found if role.name == document.primary_role).hosts:
        place = at(node, "servers", document.primary_role)
        fail(
            place.key_where or place,
            f"the primary role {document.primary_role!r} has no hosts",
            hint=around.destination_hint("write them under 'hosts'"),
        )
    return tuple(found)


def _role(name: str, settings: RoleSettings, document: Document, primary: bool, root_proxy: Node) -> Role:
    path, _, options = (settings.asset_path or document.asset_path or "").partition(":")
    proxy = _proxy(settings.proxy, primary, root_proxy)
    return Role(
        name=name,
        hosts=tuple(settings.hosts),
        cmd=settings.cmd,
        proxy=proxy,
        env=settings.env,
        options=settings.options,
        labels=types.MappingProxyType({**document.labels, **settings.labels}),
        stop_timeout=settings.stop_timeout if settings.stop_timeout is not None else document.stop_timeout,
        tags=settings.hosts,
        logging=document.logging.merged(settings.logging),
        # Assets are bridged for requests, which reach proxied roles only.
        asset_path=(path or None) if proxy else None,
        asset_options=(options or None) if proxy else None,
        balancers=proxy.loadbalancer if proxy and settings.hosts else (),
        balanced=tuple(settings.hosts) if proxy and proxy.loadbalancer else (),
    )


def _proxy(own: Node | None, primary: bool, root: Node) -> Proxy | None:
    """A role's proxy: the primary role has one unless it says `false`, the others where they ask for it."""
    if own is None:
        return read_proxy(root) if primary else None
    if own.kind == "bool":
        return read_proxy(root) if own.value else None
    if own.kind != "map":
        fail(own, f"expected true, false or a map, found {describe(own)}")
    return read_proxy(merge(root, own))


def with_warnings(config: DeployConfig, more: Sequence[str]) -> DeployConfig:
    """The configuration with further warnings in front."""
    return replace(config, warnings=(*more, *config.warnings))
