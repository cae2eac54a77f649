"""1Password by its program `op`. Names are `[vault/]item[/section]/field`; the field is `password` if absent.

A reference may begin with `op://`. Without names, all fields of the item `--from vault/item` are fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = True


def signed_in_command(account: str) -> tuple[str, ...]:
    """Exits with 0 where the account is signed in."""
    return ("op", "account", "get", "--account", account)


def sign_in_command(account: str) -> tuple[str, ...]:
    """Prints `export OP_SESSION_…="token"`, or nothing where the desktop application signs in."""
    return ("op", "signin", "--account", account, "--force")


def session(output: str) -> dict[str, str]:
    """The variable that holds the session: the token reaches later commands by it, not by argv."""
    match = re.search(r'(?:export\s+)?(OP_SESSION(?:_\w+)?)="?([^"\s]+)"?', output)
    return {match[1]: match[2]} if match else {}


def item_command(vault: str, item: str, fields: Sequence[str], account: str) -> tuple[str, ...]:
    """Prints the fields of an item as JSON; all of them where none is named."""
    words = ("op", "item", "get", item, "--vault", vault, "--format", "json", "--account", account)
    return (*words, "--fields", ",".join(f"label={field}" for field in fields)) if fields else words


def grouped(names: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Fields by vault and item, so that each item is read once."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        vault, _, rest = name.removeprefix("op://").partition("/")
        item, _, field = rest.partition("/")
        if not item:
            raise UsageError(f"{name!r} names no item of 1Password", hint="write vault/item/field")
        found.setdefault((vault, item), []).append(field.replace("/", ".") or "password")
    return found


def values(output: str, wanted: int) -> dict[str, str]:
    """Values by reference without `op://` and `/password`, of a list of fields or of a single one."""
    parsed = json.loads(output)
    if not wanted:
        parsed = parsed.get("fields", [])
    fields: list[Mapping[str, Any]] = parsed if isinstance(parsed, list) else [parsed]
    return {
        str(field["reference"]).removeprefix("op://").removesuffix("/password"): str(field.get("value", ""))
        for field in fields
        if "reference" in field
    }


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Sign in where needed, and read each item once."""
    account = wanted.account or ""
    env: dict[str, str] = {}
    if vault.run(signed_in_command(account), check=False).returncode != 0:
        env = session(vault.run(sign_in_command(account), interactive=True).stdout)
    items = grouped(wanted.prefixed)
    if not wanted.secrets:
        if not wanted.source or "/" not in wanted.source.removeprefix("op://"):
            raise UsageError("name secrets to fetch, or an item", hint="write --from vault/item")
        name, _, item = wanted.source.removeprefix("op://").partition("/")
        items = {(name, item): []}
    found: dict[str, str] = {}
    for (name, item), fields in items.items():
        done = vault.run(item_command(name, item, fields, account), env=env)
        found.update(values(done.stdout, len(fields)))
    return found
