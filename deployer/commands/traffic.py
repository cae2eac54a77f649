"""Taking a service's requests away from it for a while: maintenance, pause, and back. No reload."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deployer.commands import layout, pages, phases
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step, heredoc
from freehold.errors import UsageError


def maintenance(
    config: DeployConfig, roles: Sequence[Role], page: str, drain: float, *, audit: str
) -> Script:
    """Answer every request by 503 and a page; wait until those under way have ended."""
    steps = []
    for prefix in _prefixes(config, roles):
        shell = f"maintain {shlex.quote(prefix)} {heredoc(page)}"
        steps.append(Step(f"maintenance-{prefix}", shell, f"maintenance of {prefix}"))
    steps += [_drain(prefix, drain) for prefix in _prefixes(config, roles)]
    return phases.guarded(config, [*steps, phases.audit_step(config, audit)])


def live(config: DeployConfig, roles: Sequence[Role], *, audit: str) -> Script:
    """End maintenance and pause."""
    steps = []
    for prefix in _prefixes(config, roles):
        shell = f"rm -f {shlex.quote(layout.maintenance(prefix))}\nresume {shlex.quote(prefix)}"
        steps.append(Step(f"live-{prefix}", shell, f"{prefix} is live"))
    return phases.guarded(config, [*steps, phases.audit_step(config, audit)])


def pause(config: DeployConfig, roles: Sequence[Role], drain: float, *, audit: str) -> Script:
    """Let requests wait; those under way end."""
    steps = []
    for prefix in _prefixes(config, roles):
        shell = f"pause {shlex.quote(prefix)}"
        steps.append(Step(f"pause-{prefix}", shell, f"requests for {prefix} wait"))
    steps += [_drain(prefix, drain) for prefix in _prefixes(config, roles)]
    return phases.guarded(config, [*steps, phases.audit_step(config, audit)])


def maintenance_page(config: DeployConfig, message: str) -> str:
    """What visitors see."""
    return pages.maintenance_page(config, message)


def _prefixes(config: DeployConfig, roles: Sequence[Role]) -> list[str]:
    found = [config.container_prefix(role) for role in roles if role.proxy is not None]
    if not found:
        names = ", ".join(role.name for role in roles)
        raise UsageError(f"no requests reach {names}", hint="choose a role that has a proxy with -r")
    return found


def _drain(prefix: str, seconds: float) -> Step:
    target, paused = shlex.quote(layout.target(prefix)), shlex.quote(layout.paused(prefix))
    shell = f"""address=$(cat {paused} 2>/dev/null || cat {target} 2>/dev/null || true)
[ -z "$address" ] || drain {round(seconds)} "${{address%:*}}\""""
    return Step(f"drain-{prefix}", shell, f"requests of {prefix} end", seconds)
