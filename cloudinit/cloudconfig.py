"""cloud-config: the document that cloud-init reads as user-data."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from typing import Any

from cloudinit.names import HARMLESS
from cloudinit.recipe import Recipe
from cloudinit.script import as_script
from cloudinit.users import User
from freehold.yamlfile import dump

SCRIPT_PATH = "/var/lib/freehold-bootstrap/recipe.sh"


def users_of(users: Sequence[User], *, groups: bool) -> list[dict[str, Any]]:
    """The `users:` entries.

    `groups`: name the supplementary groups. On a vendor image `docker` and `freehold` do not exist
    yet when cloud-init makes the users; the recipe adds them afterwards.
    """
    return [_user(user, groups) for user in users]


def _user(user: User, groups: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": user.name, "shell": user.shell, "lock_passwd": user.password is None}
    if user.name in HARMLESS:
        # useradd refuses a user whose group is there already; cloud-init makes this one where it is missing.
        entry["primary_group"] = "freehold"
    if groups:
        entry["groups"] = list(user.all_groups)
    if user.sudo:
        entry["sudo"] = "ALL=(ALL:ALL) NOPASSWD:ALL"
    if user.password is not None:
        entry["hashed_passwd"] = user.password.reveal()
    if user.public_keys:
        entry["ssh_authorized_keys"] = [key.line for key in user.public_keys]
    return entry


def recipe_config(recipe: Recipe) -> dict[str, Any]:
    """The recipe as `write_files` and `runcmd`: the same script as over SSH, packed."""
    script = as_script(recipe, offline=False).encode()
    # mtime 0: the same recipe is the same bytes.
    packed = base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()
    return {
        "write_files": [
            {"path": SCRIPT_PATH, "permissions": "0700", "encoding": "gz+b64", "content": packed},
        ],
        "runcmd": [["bash", SCRIPT_PATH]],
    }


def render(config: Mapping[str, Any]) -> str:
    """A cloud-config document."""
    return "#cloud-config\n" + dump(dict(config))


def as_cloud_config(recipe: Recipe, users: Sequence[User] = ()) -> str:
    """user-data that turns a vendor's image into a prepared host.

    It holds whatever `recipe.secrets` names; `render_seed` refuses those unless they are allowed.
    """
    config: dict[str, Any] = {}
    if users:
        config["users"] = users_of(users, groups=False)
    return render({**config, **recipe_config(recipe)})
