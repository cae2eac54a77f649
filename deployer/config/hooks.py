"""Which hooks there are and what they are told; the facts are Kamal 2.12's."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.config.model import DeployConfig

HOOKS = (
    "docker-setup",
    "pre-connect",
    "pre-build",
    "pre-deploy",
    "post-deploy",
    "pre-app-boot",
    "post-app-boot",
    "pre-proxy-reboot",
    "post-proxy-reboot",
)
"""The moments at which a hook may run."""


def hook_environment(
    config: DeployConfig,
    *,
    version: str,
    performer: str,
    recorded_at: str,
    command: str,
    subcommand: str | None = None,
    hosts: Sequence[str] = (),
    roles: Sequence[str] = (),
    locked: bool | None = None,
    runtime: float | None = None,
) -> dict[str, str]:
    """The variables of a hook, named as Kamal names them.

    `recorded_at` is UTC in ISO 8601, `runtime` in seconds (post-deploy only), `roles` those that were
    selected with -r; what is absent is not set.
    """
    short = version if "_" in version else version[:7]
    found = {
        "KAMAL_RECORDED_AT": recorded_at,
        "KAMAL_PERFORMER": performer,
        "KAMAL_DESTINATION": config.destination,
        "KAMAL_VERSION": version or None,
        "KAMAL_SERVICE_VERSION": f"{config.service}@{short}" if version else config.service,
        "KAMAL_SERVICE": config.service,
        "KAMAL_HOSTS": ",".join(hosts or config.all_hosts),
        "KAMAL_ROLES": ",".join(roles) or None,
        "KAMAL_LOCK": None if locked is None else str(locked).lower(),
        "KAMAL_COMMAND": command,
        "KAMAL_SUBCOMMAND": subcommand,
        "KAMAL_RUNTIME": None if runtime is None else str(round(runtime)),
    }
    return {name: value for name, value in found.items() if value is not None}


def shows_output(config: DeployConfig, hook: str) -> bool | None:
    """Whether `hooks_output` wants a hook's output shown; None where it says nothing."""
    level = config.hooks_output.get(hook, config.hooks_output.get(""))
    return None if level is None else level == "verbose"
