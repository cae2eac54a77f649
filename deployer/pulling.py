"""The image's way through a registry: pulled by every host at once."""

from __future__ import annotations

from collections.abc import Iterable

from deployer.commands.registry import Access, pull_script
from deployer.config import DeployConfig
from deployer.fleet import Fleet
from deployer.report import check, summary
from deployer.rollout import Delivery
from freehold.errors import FreeholdError

PULL_TIMEOUT = 1800.0


def through_registry(
    config: DeployConfig, image: str, login: Access | None, hosts: Iterable[str], *, fleet: Fleet
) -> Delivery:
    """Pull on every host. HostError with what docker said; nothing that runs is touched."""
    scripts = dict.fromkeys(hosts, pull_script(config, image, login))
    answers = fleet.run(scripts, f"Pulling {image}", timeout=PULL_TIMEOUT)
    errors: list[FreeholdError] = [*answers.errors.values(), *check(scripts, answers.values)]
    if errors:
        raise summary(errors, "nothing was changed") if errors[1:] else errors[0]
    return Delivery(image)
