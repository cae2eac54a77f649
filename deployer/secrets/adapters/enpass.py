"""Enpass by its program `enpass-cli`; `--from` is the directory of the vault.

Names are `title` (all passwords of the item) or `title/label`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = False


def titles(names: Sequence[str]) -> tuple[str, ...]:
    """The items to read: of `title/label` the title."""
    return tuple(dict.fromkeys(name.rpartition("/")[0] or name for name in names))


def show_command(directory: str, names: Sequence[str]) -> tuple[str, ...]:
    """Prints items as JSON."""
    return ("enpass-cli", "-json", "-vault", directory, "show", *titles(names))


def values(output: str, names: Sequence[str]) -> dict[str, str]:
    """Passwords by `title` or `title/label`, of the items and labels that were asked for."""
    found: dict[str, str] = {}
    for item in json.loads(output):
        title, label, password = item.get("title"), item.get("label"), item.get("password")
        if not title or not password:
            continue
        key = f"{title}/{label}" if label else str(title)
        if title not in names and key not in names:
            continue
        if key in found:
            raise UsageError(
                f"{key!r} stands more than once in Enpass", hint="give the fields labels of their own"
            )
        found[key] = str(password)
    return found


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Read all items at once. The program takes the master password from ENP_PIN or the terminal."""
    if not wanted.source:
        raise UsageError("Enpass needs the directory of its vault", hint="write --from /path/to/vault")
    done = vault.run(show_command(wanted.source, wanted.secrets), interactive=True)
    return values(done.stdout, wanted.secrets)
