"""`pass`, the standard Unix password manager. Names are paths in the store; `--from` goes in front.

The value is the first line; `path:field` is the text behind `field:` on a line below it.
"""

from __future__ import annotations

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = False


def show_command(path: str) -> tuple[str, ...]:
    """Prints an entry."""
    return ("pass", "show", path)


def value(output: str, name: str) -> str:
    """The first line of an entry, or the field that `name` asks for."""
    lines = output.splitlines()
    _, _, field = name.partition(":")
    if not field:
        return lines[0] if lines else ""
    for line in lines[1:]:
        key, colon, text = line.partition(":")
        if colon and key.strip() == field:
            return text.strip()
    raise UsageError(f"the entry {name.partition(':')[0]!r} has no line '{field}: …'")


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Read each entry once; gpg may ask for its passphrase."""
    entries: dict[str, str] = {}
    found: dict[str, str] = {}
    for name in wanted.prefixed:
        path = name.partition(":")[0]
        if path not in entries:
            entries[path] = vault.run(show_command(path), interactive=True).stdout
        found[name] = value(entries[path], name)
    return found
