"""Which lab a command means, and the project's files that say what it is."""

from __future__ import annotations

from collections.abc import Callable

import click

from cloudinit.profile import HostProfile, load_profile
from freehold.command import Context
from freehold.errors import InputError, LabError
from lab.lab import Lab
from lab.labfile import LabFile, load_lab_file
from lab.mirror import default_name
from lab.model import LabSpec
from lab.places import list_labs

Mirror = Callable[[Context, str | None], LabSpec | None]
# Where the group keeps its mirror for the commands below it, in click's own context.
MIRROR = "freehold.lab.mirror"

NO_LAB = "`freehold lab up` makes one"
NAME_OPTION = click.option("--lab", "-l", "name", metavar="NAME", help="Which lab, where there are several.")


def lab_file(context: Context) -> LabFile:
    """`config/lab.yml` below the project's root; the defaults where it is missing."""
    path = context.root / "config" / "lab.yml"
    return load_lab_file(path, name="config/lab.yml") if path.is_file() else LabFile()


def host_profile(context: Context) -> HostProfile | None:
    """`config/host.yml` below the project's root, or None for the default profile."""
    path = context.root / "config" / "host.yml"
    return load_profile(path, name="config/host.yml") if path.is_file() else None


def _candidates(context: Context, known: tuple[str, ...]) -> tuple[str, ...]:
    """The labs that a command without a name may mean: the project's own, outside of a project all."""
    named = lab_file(context).name
    if named is not None:
        return (named,)
    mirror: Mirror | None = click.get_current_context().meta.get(MIRROR)
    own: list[str] = []
    for destination in (None, *_destinations(context)):
        try:
            spec = mirror(context, destination) if mirror is not None else None
        except InputError:
            # `--lab` has to do where the deploy file cannot be read: another project's lab is never meant.
            continue
        if spec is None:
            there = (context.root / "config" / "lab.yml").is_file()
            return (default_name(context.root),) if there else known
        if spec.name in known and destination is None:
            return (spec.name,)
        own.append(spec.name)
    return tuple(name for name in own if name in known) or tuple(own[:1])


def _destinations(context: Context) -> tuple[str, ...]:
    """What `-d` may say here: the project's files beside its deploy file."""
    return tuple(sorted(path.name.split(".")[1] for path in (context.root / "config").glob("deploy.*.yml")))


def chosen(context: Context, name: str | None) -> Lab:
    """The lab that a command means: the named one, the project's, or the only one outside of a project."""
    known = list_labs()
    found = (name,) if name is not None else _candidates(context, known)
    if name is None and not known:
        raise LabError(f"there is no lab {found[0]!r}" if found else "there is no lab", hint=NO_LAB)
    if len(found) != 1:
        raise LabError("which lab?", hint=f"`--lab NAME`; there are {', '.join(known)}")
    return Lab(found[0], runner=context.runner, console=context.console, environ=context.environ)
