"""LastPass by its program `lpass`. Names are full names of entries: `folder/entry`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = True

STATUS = ("lpass", "status", "--color", "never")


def login_command(account: str) -> tuple[str, ...]:
    """Asks for the password on the terminal."""
    return ("lpass", "login", account)


def show_command(names: Sequence[str]) -> tuple[str, ...]:
    """Prints entries as JSON."""
    return ("lpass", "show", *names, "--json")


def values(output: str, names: Sequence[str]) -> dict[str, str]:
    """Passwords by full name; UsageError where one is missing."""
    found = {str(item["fullname"]): str(item["password"]) for item in json.loads(output)}
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(
            f"LastPass has no {', '.join(missing)}",
            hint=f"it has: {', '.join(found) or 'nothing by those names'}",
        )
    return found


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Log in where needed, and read all entries at once."""
    account = wanted.account or ""
    if vault.run(STATUS, check=False).stdout.strip() != f"Logged in as {account}.":
        vault.run(login_command(account), interactive=True)
    return values(vault.run(show_command(wanted.prefixed)).stdout, wanted.prefixed)
