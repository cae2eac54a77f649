"""The image's way through a registry: whether it goes there, and pulled by every host at once."""

from __future__ import annotations

from collections.abc import Iterable

from deployer.commands.registry import Access, pull_script
from deployer.config import DeployConfig
from deployer.fleet import Fleet
from deployer.report import check, summary
from deployer.rollout import Delivery
from freehold.errors import FreeholdError, UsageError

PULL_TIMEOUT = 1800.0


def uses_registry(config: DeployConfig, *, asked: bool | None, lab: bool) -> bool:
    """Whether images go through the registry: as asked for, else where the file has one.

    A lab is a rehearsal and leaves the registry alone. UsageError: asked for, and there is none.
    """
    named = config.registry is not None and config.registry.wanted
    if asked and not named:
        raise UsageError(
            "--registry needs a registry, and the file names none",
            hint=f"write a `registry` section into {config.file}",
        )
    return bool(named and not lab) if asked is None else asked


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
