"""Bitwarden Secrets Manager by its program `bws`, which reads its token from BWS_ACCESS_TOKEN.

Names are ids of secrets, or `all`, or `project/all` (also as `--from project all`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = False

CHECK = ("bws", "project", "list")


def commands(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """One command for all secrets of a project, or one for each."""
    if len(names) == 1 and names[0] == "all":
        return (("bws", "secret", "list"),)
    if len(names) == 1 and names[0].endswith("/all"):
        return (("bws", "secret", "list", names[0].removesuffix("/all")),)
    return tuple(("bws", "secret", "get", name) for name in names)


def values(output: str) -> dict[str, str]:
    """Values by key, of one secret or of a list."""
    parsed = json.loads(output)
    return {
        str(item["key"]): str(item["value"]) for item in (parsed if isinstance(parsed, list) else [parsed])
    }


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Check the token, then read."""
    if not wanted.secrets:
        raise UsageError("name the secrets to fetch from Bitwarden Secrets Manager", hint="or write: all")
    vault.run(CHECK)
    found: dict[str, str] = {}
    for command in commands(wanted.prefixed):
        found.update(values(vault.run(command).stdout))
    return found
