"""Which versions a host keeps: what is left over once another one serves, and where a rollback leads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from deployer.commands import phases
from deployer.commands.facts import Container, HostFacts
from deployer.config import DeployConfig
from freehold.errors import InputError


def leftovers(config: DeployConfig, known: HostFacts, version: str, *, revived: bool) -> phases.Leftovers:
    """What a host still has of other versions once `version` serves.

    Kept are the `retain_containers` versions that served last. What never served is no target of a
    rollback and goes. A container that stepped aside for another of the same version has no name of
    its own any more and is called by its id.
    """
    roles = {role.name for role in config.roles_on(known.host)}
    live = {config.container_name(role, version) for role in config.roles_on(known.host)}
    served = [name for name in dict.fromkeys(reversed(known.history)) if name != version]
    keep = {version, *served[: config.retain_containers]}
    stop: list[Container] = []
    remove: list[str] = []
    gone: dict[str, str] = {}
    for container in known.containers:
        if container.role not in roles or (revived and container.name in live):
            continue
        aside = container.name in live
        container = dataclasses.replace(container, name=container.id) if aside else container
        if container.running:
            stop.append(container)
        if aside or container.replaced or container.version not in keep:
            remove.append(container.name)
        if container.version not in keep:
            gone[container.version] = container.image
    for container in known.containers:
        if container.role not in roles:
            # Image and files of the version belong to this role's container too.
            gone.pop(container.version, None)
    return phases.Leftovers(tuple(stop), tuple(remove), gone)


def previous_version(facts: Mapping[str, HostFacts], config: DeployConfig) -> str:
    """The version that served before the one that serves now and whose containers are on every host."""
    primary = facts.get(config.primary_host) or next(iter(facts.values()))
    current = primary.version
    for name in reversed(primary.history):
        if name != current and all(
            name in known.versions(role) for host, known in facts.items() for role in config.roles_on(host)
        ):
            return name
    raise InputError(
        "there is no earlier version to go back to",
        hint=f"{current} is the only one that served" if current else "nothing has been deployed yet",
    )
