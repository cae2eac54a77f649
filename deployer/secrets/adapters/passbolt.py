"""Passbolt by its program `passbolt` (go-passbolt-cli). Names are `[folder/…/]name`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import UsageError

NEEDS_ACCOUNT = False

VERIFY = ("passbolt", "verify")
Folders = Mapping[str, str]
"""Ids of folders by path."""


def folder_command(name: str, parent: str | None) -> tuple[str, ...]:
    """Lists the folders of a name, inside a parent where one is given."""
    inside = f" && FolderParentID == {_quoted(parent)}" if parent else ""
    return ("passbolt", "list", "folders", "--filter", f"Name == {_quoted(name)}{inside}", "--json")


def folder_id(output: str, parent: str | None) -> str | None:
    """The folder of a listing that lies in `parent` (None: at the top)."""
    for item in json.loads(output):
        if (item.get("folder_parent_id") or None) == parent:
            return str(item["id"])
    return None


def paths(names: Sequence[str]) -> tuple[str, ...]:
    """The folders that names lie in, each parent before its children."""
    found: dict[str, None] = {}
    for name in names:
        words = name.split("/")[:-1]
        for depth in range(1, len(words) + 1):
            found["/".join(words[:depth])] = None
    return tuple(found)


def resources_command(names: Sequence[str], folders: Folders) -> tuple[str, ...]:
    """Lists the passwords of all names at once."""
    conditions = []
    for name in names:
        path, _, plain = name.rpartition("/")
        one = f"Name == {_quoted(plain)}"
        conditions.append(f"({one} && FolderParentID == {_quoted(folders[path])})" if path else one)
    within = [word for path in folders.values() for word in ("--folder", path)]
    listing = ("passbolt", "list", "resources", "--filter", " || ".join(conditions))
    return (*listing, *within, "--column", "name", "--column", "password", "--json")


def values(output: str, names: Sequence[str]) -> dict[str, str]:
    """Passwords by plain name; UsageError where one is missing, or could be either of two."""
    plain = [name.rpartition("/")[2] for name in dict.fromkeys(names)]
    twice = next((name for name in plain if plain.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"Passbolt tells passwords called {twice} not apart", hint="write a `secrets fetch` for each"
        )
    found = {str(item["name"]): str(item["password"]) for item in json.loads(output)}
    missing = [name for name in names if name.rpartition("/")[2] not in found]
    if missing:
        raise UsageError(f"Passbolt has no {', '.join(missing)}")
    return found


def _quoted(text: str) -> str:
    """Text in the quotes of the program's filter language, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Verify the session, find the folders, and read all passwords at once."""
    names = wanted.prefixed
    if not wanted.secrets:
        raise UsageError("name the secrets to fetch from Passbolt")
    vault.run(VERIFY, interactive=True)
    folders: dict[str, str] = {}
    for path in paths(names):
        above, _, name = path.rpartition("/")
        parent = folders[above] if above else None
        found = folder_id(vault.run(folder_command(name, parent)).stdout, parent)
        if found is None:
            raise UsageError(f"Passbolt has no folder {path!r}")
        folders[path] = found
    return values(vault.run(resources_command(names, folders)).stdout, names)
