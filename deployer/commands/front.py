"""The phases of a deploy on a host that only balances: it has routes and certificates, and no container."""

from __future__ import annotations

import shlex

from deployer.commands import balance, copies, layout, phases, proxy
from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig
from deployer.script import Script, Step


def recall(config: DeployConfig, version: str) -> Script:
    """Ahead of a rollback: what served is settled, and nobody else has the version's routes."""
    settle = Step("settle", copies.settle(config), "what served")
    claims = Step("claims", proxy.unclaimed_fragment(config, version), "nobody else has its routes")
    return phases.guarded(config, [settle, claims])


def finish_steps(config: DeployConfig, known: HostFacts, version: str) -> list[Step]:
    """After a commit: the hosts behind are asked; old versions' files go where no container needs them."""
    fronted = config.balanced_on(known.host)
    if not fronted:
        return []
    steps = [Step("behind", balance.LOOK, "the hosts behind it are well")]
    if not known.containers:
        served = [name for role in fronted for name in known.served(role.name)[: config.retain_containers]]
        kept = "|".join(shlex.quote(name) for name in dict.fromkeys([version, *served]))
        shell = f"""for path in {layout.version(config.name, "*")}; do
    case ${{path##*/}} in {kept}) ;; *) rm -rf "$path" ;; esac
done"""
        steps.append(Step("forget", shell, "forget old versions"))
    return steps
