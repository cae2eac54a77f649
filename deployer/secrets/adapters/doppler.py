"""Doppler by its program `doppler`. Names are names of secrets; `--from project/config`.

A service token in DOPPLER_TOKEN (`dp.st…`) already knows project and config.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = False

ME = ("doppler", "me", "--json")
LOGIN = ("doppler", "login", "-y")


def get_command(names: Sequence[str], service_token: bool) -> tuple[str, ...]:
    """Prints secrets as JSON; `names` are `project/config/name`, or with a service token plain names."""
    flags: tuple[str, ...] = ()
    if not service_token:
        words = names[0].split("/") if names else []
        if len(words) < 3:
            raise UsageError("Doppler needs a project and a config", hint="write --from project/config")
        if any(name.split("/")[:2] != words[:2] for name in names):
            raise UsageError(
                "Doppler reads one project and config at a time", hint="write a `secrets fetch` for each"
            )
        flags = ("-p", words[0], "-c", words[1])
    return ("doppler", "secrets", "get", *(name.rpartition("/")[2] for name in names), "--json", *flags)


def values(output: str) -> dict[str, str]:
    """Values by name, references between secrets resolved."""
    return {str(name): str(item["computed"]) for name, item in json.loads(output).items()}


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Log in where needed, and read all secrets at once."""
    if vault.run(ME, check=False).returncode != 0:
        vault.run(LOGIN, interactive=True)
    token = vault.environ.get("DOPPLER_TOKEN", "").startswith("dp.st")
    return values(vault.run(get_command(wanted.prefixed, token)).stdout)
