"""A version that is tried on a share of the visitors, beside the one that serves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deployer.commands import layout, phases
from deployer.config import DeployConfig, Role
from deployer.script import Script, ScriptResult, Step

PARTS = 256
"""Visitors are told apart by two hexadecimal digits."""


def split(config: DeployConfig, roles: Sequence[Role], version: str, percent: float, *, audit: str) -> Script:
    """Give a share of the visitors to the container of a version that runs."""
    steps = []
    for role in roles:
        if role.proxy is None:
            continue
        words = [
            config.container_name(role, version),
            config.container_prefix(role),
            str(role.proxy.app_port),
            version,
            str(parts(percent)),
        ]
        steps.append(
            Step(f"split-{role.name}", shlex.join(["split_to", *words]), f"{percent:g}% to {version}")
        )
    return phases.guarded(config, [*steps, phases.audit_step(config, audit)])


def parts(percent: float) -> int:
    """How many of the parts a percentage is; at least one where it is more than nothing."""
    return max(1, round(percent * PARTS / 100)) if percent > 0 else 0


def state(config: DeployConfig, roles: Sequence[Role]) -> Script:
    """Which version is being tried."""
    lines = []
    for role in roles:
        if role.proxy is not None:
            prefix = config.container_prefix(role)
            place = shlex.quote(layout.canary(prefix))
            lines.append(
                f"[ ! -e {place} ] || printf '%s\\t%s\\t%s\\n' {shlex.quote(prefix)} "
                f'"$(cat {place}/version)" "$(cat {place}/count)"'
            )
    return Script((Step("canary", "\n".join([*lines, "true"]), "what is tried"),))


def parse_state(result: ScriptResult) -> dict[str, tuple[str, float]]:
    """Version and percentage by service and role."""
    found = {}
    for line in result.lines("canary"):
        prefix, version, count = line.split("\t")
        found[prefix] = (version, int(count) * 100 / PARTS)
    return found
