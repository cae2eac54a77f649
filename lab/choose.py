"""Which lab a command means, and the project's files that say what it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import click

from cloudinit.profile import HostProfile, load_profile
from freehold.command import Context
from freehold.errors import InputError, LabError
from lab.lab import Lab
from lab.labfile import LabFile, load_lab_file
from lab.model import LabSpec
from lab.state import list_labs

Mirror = Callable[[Context, str | None], LabSpec | None]
# Where the group keeps its mirror for the commands below it, in click's own context.
MIRROR = "freehold.lab.mirror"

NAME_OPTION = click.option("--lab", "-l", "name", metavar="NAME", help="Which lab, where there are several.")


def lab_file(context: Context) -> LabFile:
    """`config/lab.yml` below the project's root; the defaults where it is missing."""
    path = context.root / "config" / "lab.yml"
    return load_lab_file(path, name="config/lab.yml") if path.is_file() else LabFile()


def host_profile(context: Context) -> HostProfile | None:
    """`config/host.yml` below the project's root, or None for the default profile."""
    path = context.root / "config" / "host.yml"
    return load_profile(path, name="config/host.yml") if path.is_file() else None


def _projects_own(context: Context, known: tuple[str, ...]) -> str | None:
    """Among several labs, the one that this project's deploy file would make."""
    mirror: Mirror | None = click.get_current_context().meta.get(MIRROR)
    if mirror is None:
        return None
    # A deploy file that cannot be read must not keep anybody from taking a lab down.
    with suppress(InputError):
        spec = mirror(context, None)
        if spec is not None and spec.name in known:
            return spec.name
    return None


def chosen(context: Context, name: str | None) -> Lab:
    """The lab that a command means: the named one, the project's, or the only one there is."""
    known = list_labs()
    wanted = name or lab_file(context).name
    if wanted is None and len(known) > 1:
        wanted = _projects_own(context, known)
    if wanted is None:
        if len(known) != 1:
            listing = ", ".join(known)
            raise LabError(
                "which lab?" if known else "there is no lab",
                hint=f"`--lab NAME`; there are {listing}" if known else "`freehold lab up` makes one",
            )
        wanted = known[0]
    return Lab(wanted, runner=context.runner, console=context.console, environ=context.environ)
