"""Files encrypted by `sops` (YAML, JSON, dotenv, ini): `--from` is the file.

Names are keys, below maps by `/`: `production/database_url`. Without names all are fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError
from freehold.settings import near

NEEDS_ACCOUNT = False


def decrypt_command(file: str) -> tuple[str, ...]:
    """Prints the whole file as JSON."""
    return ("sops", "--decrypt", "--output-type", "json", file)


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Values by path."""
    if isinstance(value, Mapping):
        return {
            path: text for key, item in value.items() for path, text in flat(item, f"{prefix}{key}/").items()
        }
    return {prefix.removesuffix("/"): value if isinstance(value, str) else json.dumps(value)}


def chosen(all_values: Mapping[str, str], names: Sequence[str], file: str) -> dict[str, str]:
    """The values that were asked for; UsageError where one is missing."""
    for name in names:
        if name not in all_values:
            guess = near(name, all_values)
            raise UsageError(f"{file} has no key {name!r}", hint=f"did you mean {guess!r}?" if guess else "")
    return {name: all_values[name] for name in names or all_values}


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Decrypt the file once."""
    if not wanted.source:
        raise UsageError("sops needs a file", hint="write --from config/secrets.enc.yml")
    output = vault.run(decrypt_command(wanted.source), interactive=True).stdout
    return chosen(flat(json.loads(output)), wanted.secrets, wanted.source)
