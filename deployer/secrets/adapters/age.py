"""Files encrypted by `age`: `--from` is the file, `--account` the file with the identity.

What is inside is dotenv lines or a JSON object. Names are its keys; without names all are fetched.
"""

from __future__ import annotations

import json

from deployer.secrets.adapters.sops import chosen, flat
from deployer.secrets.dotenv import Text, parse
from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = False


def decrypt_command(file: str, identity: str | None) -> tuple[str, ...]:
    """Prints the text; without an identity age asks for a passphrase."""
    key = ("--identity", identity) if identity else ()
    return ("age", "--decrypt", *key, file)


def values(output: str, file: str) -> dict[str, str]:
    """Values by key, of JSON or dotenv lines; nothing inside is run or replaced."""
    if output.lstrip().startswith("{"):
        return flat(json.loads(output))
    found: dict[str, str] = {}
    for entry in parse(output, file).entries:
        if not all(isinstance(piece, Text) for piece in entry.value):
            raise UsageError(
                f"{entry.name} in {file} holds a variable or command",
                hint="put the value into single quotes",
            )
        found[entry.name] = "".join(piece.text for piece in entry.value if isinstance(piece, Text))
    return found


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Decrypt the file once."""
    if not wanted.source:
        raise UsageError("age needs a file", hint="write --from secrets.age --account key.txt")
    done = vault.run(decrypt_command(wanted.source, wanted.account), interactive=True)
    return chosen(values(done.stdout, wanted.source), wanted.secrets, wanted.source)
