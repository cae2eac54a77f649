"""What a version had before it is deployed once more: a copy of its directory, and its containers' names.

A version is its image, its configuration and its environment as they served. While a copy is there, what
it holds is the version, and what has been prepared since was never committed; see `data/host/copies.sh`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deployer.commands import layout
from deployer.config import DeployConfig, Role


def paths(config: DeployConfig, version: str) -> tuple[str, str]:
    """A version's directory, and where it is kept."""
    return layout.version(config.name, version), layout.before(config.name, version)


def keep(config: DeployConfig, roles: Sequence[Role] | None, version: str, image: str) -> str:
    """Before `roles` are started at a version: what is there of it, and whose the names are.

    None: nothing is started yet, and nobody's name is touched. What a run that was cut off took of roles that
    are left out now is given back, names and files: what is committed is the whole version.
    """
    directory, copy = paths(config, version)
    lines = [
        settle(config, version),
        shlex.join(["keep_files", directory, copy, image, layout.history(config.name)]),
    ]
    if roles is not None:
        names = [config.container_name(role, version) for role in roles]
        lines.append(shlex.join(["keep_names", copy, *names]))
        for role in config.left_out:
            words = [f"{config.prefix_of(role)}-{version}", *layout.role_files(role)]
            lines.append(shlex.join(["role_back", directory, copy, *words]))
    return "\n".join([*lines, shlex.join(["mkdir", "-p", directory])])


def settle(config: DeployConfig, *versions: str) -> str:
    """What earlier deploys left that were cut off is settled, except for these versions."""
    copies, own = layout.before(config.name), layout.version(config.name, "")
    return shlex.join(["no_copies", copies, own.rstrip("/"), *versions])


def in_use(config: DeployConfig, version: str) -> str:
    """The version is committed: in one step, what was prepared is what it is."""
    return shlex.join(["files_in_use", layout.before(config.name, version)])


def out_of_use(config: DeployConfig, version: str) -> str:
    """It is not, after all."""
    return shlex.join(["files_out_of_use", layout.before(config.name, version)])


def files_back(config: DeployConfig, *versions: str) -> str:
    """The files of versions as they were kept; nothing has been started since."""
    return "\n".join(shlex.join(["put_only_files_back", *paths(config, name)]) for name in versions)


def back(config: DeployConfig, *versions: str) -> str:
    """Versions as they were kept, if they were."""
    return "\n".join(shlex.join(["put_files_back", *paths(config, name)]) for name in versions)
