"""Which versions serve on a host: what has the traffic, whatever was remembered of it."""

from __future__ import annotations

from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig, Role


def serving_role(config: DeployConfig, known: HostFacts, role: Role) -> str | None:
    """The version that a role's requests reach: what is behind its target, else what was committed last.

    The two differ where a commit or its way back was cut off.
    """
    last = known.serving(role.name)
    behind = [container.version for container in known.behind(role, config.container_prefix(role))]
    return last if last in behind or not behind else behind[0]


def latest(config: DeployConfig, known: HostFacts) -> str | None:
    """The version that a host was brought to last: committed, or in use though a kill kept it from that."""
    for role in config.roles_on(known.host):
        now = serving_role(config, known, role)
        if now != known.serving(role.name):
            return now
    return known.version


def serving(config: DeployConfig, known: HostFacts) -> frozenset[str]:
    """The versions that serve on a host, over its roles."""
    found = (serving_role(config, known, role) for role in config.roles_on(known.host))
    return frozenset(version for version in found if version)
