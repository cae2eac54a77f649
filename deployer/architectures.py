"""Which architectures are built for which hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig
from deployer.transfer import parse_facts
from freehold.errors import ConfigError
from freehold.source import Location


def builds(
    config: DeployConfig,
    facts: Mapping[str, HostFacts] | None,
    *,
    together: bool = False,
    own: str | None = None,
) -> list[tuple[str, ...]]:
    """The architectures of each build; an empty one is for the engine's own. Pure.

    `together`: all in one build. Otherwise each that some host has, or only `own` where the file has it.
    """
    arches = config.builder.arch
    if together:
        return [arches]
    if own in arches:
        return [(own,)]
    return [(arch,) for arch in (of_hosts(config, arches, facts) if len(arches) > 1 else arches)] or [()]


def of_hosts(
    config: DeployConfig, arches: Sequence[str], facts: Mapping[str, HostFacts] | None
) -> tuple[str, ...]:
    """Those of the architectures that some host has; all where the hosts have not been asked.

    ConfigError: no host has any.
    """
    if facts is None:
        return tuple(arches)
    wanted = {parse_facts(known.images).arch for known in facts.values()}
    found = tuple(arch for arch in arches if arch in wanted)
    if not found:
        raise ConfigError(
            f"no host has one of these architectures; the hosts are {', '.join(sorted(wanted))}",
            where=Location(config.file, key="builder.arch"),
        )
    return found
