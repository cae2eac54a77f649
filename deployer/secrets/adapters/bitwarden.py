"""Bitwarden by its program `bw`. Names are `item` (its login password) or `item/field`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import ProcessError, UsageError

NEEDS_ACCOUNT = True

STATUS = ("bw", "status")
UNLOCK = ("bw", "unlock", "--raw")
SYNC = ("bw", "sync")


def login_command(account: str) -> tuple[str, ...]:
    """Asks for the password on the terminal."""
    return ("bw", "login", account)


def item_command(item: str) -> tuple[str, ...]:
    """Prints an item as JSON."""
    return ("bw", "get", "item", item)


def status(output: str) -> str:
    """unauthenticated, locked or unlocked."""
    return str(json.loads(output).get("status"))


def grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """Fields by item, so that each item is read once."""
    found: dict[str, list[str]] = {}
    for name in names:
        item, _, field = name.partition("/")
        fields = found.setdefault(item, [])
        if field:
            fields.append(field)
    return found


def values(output: str, item: str, fields: Sequence[str]) -> dict[str, str]:
    """Values by `item/field`; without fields the login's password, or all fields of an item without one."""
    parsed: dict[str, Any] = json.loads(output)
    own = {str(field["name"]): str(field.get("value") or "") for field in parsed.get("fields") or []}
    password = (parsed.get("login") or {}).get("password")
    if not fields and password:
        return {item: str(password)}
    if not fields and not own:
        raise UsageError(f"the item {item!r} of Bitwarden has neither a password nor fields")
    missing = [field for field in fields if field not in own]
    if missing:
        raise UsageError(
            f"the item {item!r} of Bitwarden has no field {', '.join(missing)}",
            hint=f"it has: {', '.join(own) or 'none'}",
        )
    return {f"{item}/{name}": own[name] for name in fields or own}


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Log in and unlock where needed, sync, and read each item once."""
    state = status(vault.run(STATUS).stdout)
    env: dict[str, str] = {}
    if state == "unauthenticated":
        vault.run(login_command(wanted.account or ""), interactive=True)
        state = status(vault.run(STATUS).stdout)
    if state == "locked":
        token = vault.run(UNLOCK, interactive=True).stdout.strip()
        env = {"BW_SESSION": token} if token else {}
        state = status(vault.run(STATUS, env=env).stdout)
    if state != "unlocked":
        raise ProcessError("Bitwarden could not be unlocked", hint="run `bw unlock` by hand")
    vault.run(SYNC, env=env)
    found: dict[str, str] = {}
    for item, fields in grouped(wanted.prefixed).items():
        found.update(values(vault.run(item_command(item), env=env).stdout, item, fields))
    return found
