"""Which versions a host keeps: what is left over once another one serves, and where a rollback leads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from deployer.commands import finishing
from deployer.commands.facts import Container, HostFacts
from deployer.commands.serving import serving_role
from deployer.config import DeployConfig
from freehold.errors import InputError


def leftovers(config: DeployConfig, known: HostFacts, version: str, *, revived: bool) -> finishing.Leftovers:
    """What a host still has of other versions once `version` serves.

    Kept are of each role the `retain_containers` versions that served last. What never served is no
    target of a rollback and goes. A container that stepped aside for another of the same version has no
    name of its own any more and is called by its id.
    """
    roles = config.roles_on(known.host)
    live = {config.container_name(role, version) for role in roles}
    keep: dict[str, set[str]] = {}
    for role in roles:
        served = [name for name in known.served(role.name) if name != version]
        keep[role.name] = {version, *served[: config.retain_containers]}
    stop: list[Container] = []
    remove: list[str] = []
    gone: dict[str, str] = {}
    staying = {version}
    for container in known.containers:
        if container.role not in keep or (revived and container.name in live):
            # Image and files of the version belong to this container too.
            staying.add(container.version)
            continue
        needed = container.version in keep[container.role]
        aside = container.name in live
        container = dataclasses.replace(container, name=container.id) if aside else container
        if container.running:
            stop.append(container)
        if aside or container.replaced or not needed:
            remove.append(container.name)
        if needed:
            staying.add(container.version)
        else:
            gone[container.version] = container.image
    gone = {name: image for name, image in gone.items() if name not in staying}
    return finishing.Leftovers(tuple(stop), tuple(remove), gone)


def previous_version(facts: Mapping[str, HostFacts], config: DeployConfig) -> str:
    """The version that served before the one that serves now and whose containers are on every host.

    As the primary role has it, of those that were chosen.
    """
    primary = facts.get(config.primary_host) or next(iter(facts.values()))
    current, earlier = _before(config, primary)
    places = [(host, known, role) for host, known in facts.items() for role in config.roles_on(host)]
    for name in earlier:
        if all(name in known.versions(role) for _, known, role in places):
            return name
    if earlier:
        name, lacking = earlier[0], [one for one in places if earlier[0] not in one[1].versions(one[2])]
        host, _, role = lacking[0]
        raise InputError(
            f"{host} has no container of {role.name} at {name}, which served before {current}",
            hint=_partly(config, name, {one[2].name for one in lacking}, {one[0] for one in lacking}),
        )
    raise InputError(
        "there is no earlier version to go back to",
        hint=f"{current} is the only one that served" if current else "nothing has been deployed yet",
    )


def _partly(config: DeployConfig, name: str, roles: set[str], hosts: set[str]) -> str:
    """How to go back to a version that these roles lack, on these hosts."""
    for flag, chosen in (
        ("-r", [role.name for role in config.roles if role.name not in roles]),
        ("-h", [host for host in config.hosts if host not in hosts]),
    ):
        if chosen:
            return f"`freehold rollback {name} {flag} {','.join(chosen)}` goes back where it is"
    return "deploy that version instead"


def _before(config: DeployConfig, known: HostFacts) -> tuple[str, tuple[str, ...]]:
    """The version that serves for the primary role ("" for none), and those before it, the last first."""
    role = config.primary_role
    served = known.served(role.name)
    current = serving_role(config, known, role) or ""
    # One that was never remembered came after all of them.
    return current, served[served.index(current) + 1 :] if current in served else served


def common_version(facts: Mapping[str, HostFacts], config: DeployConfig) -> str:
    """The version that serves for every role, on every host where one does. InputError: there are several."""
    serving: dict[str, dict[str, list[str]]] = {}
    for host, known in facts.items():
        for role in config.roles_on(host):
            if version := serving_role(config, known, role):
                serving.setdefault(role.name, {}).setdefault(version, []).append(host)
    versions = {version for found in serving.values() for version in found}
    if not versions:
        raise InputError(
            "nothing has been deployed yet", hint="`freehold deploy`, or name a version with --version"
        )
    if len(versions) == 1:
        return versions.pop()
    told = [
        f"{name} at {version}" + (f" on {', '.join(hosts)}" if found.keys() - {version} else "")
        for name, found in serving.items()
        for version, hosts in found.items()
    ]
    if any(len(found) > 1 for found in serving.values()):
        raise InputError(
            f"the hosts are at different versions: {', '.join(told)}",
            hint="choose with --version",
        )
    raise InputError(
        f"the roles are at different versions: {', '.join(told)}",
        hint="choose with --version, or boot one role after the other with -r",
    )


def check_kept(config: DeployConfig, version: str, facts: Mapping[str, HostFacts]) -> None:
    """InputError where a host has no container of the version, which a rollback would start."""
    for host, known in facts.items():
        for role in config.roles_on(host):
            if version not in known.versions(role):
                kept = sorted(known.versions(role).intersection(known.served(role.name)))
                raise InputError(
                    f"{host} has no container of {role.name} at version {version}",
                    hint=f"kept there: {', '.join(kept)}" if kept else "deploy that version instead",
                )
