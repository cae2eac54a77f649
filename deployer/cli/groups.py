"""Groups whose commands live in the packages below: `image`, `lab`; and `version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployer.cli.options import hostless
from freehold import __version__
from freehold.command import Context, LazyGroup, common_options, pass_context


@click.group(
    cls=LazyGroup,
    lazy={
        "seed": ("cloudinit.cli:seed", "Write the NoCloud seed of a host."),
        "build": ("builder.cli:build", "Build a golden disk image."),
        "installer": ("builder.barecli:installer", "Write the ISO that installs a bare machine."),
        "netboot": ("builder.barecli:netboot", "Write, and serve, what installs machines over HTTP."),
        "remaster": ("builder.barecli:remaster", "Make a vendor's ISO unattended."),
        "base": ("builder.cli:base", "Build a base image for applications."),
        "list": ("builder.cli:list_", "List the images in the cache."),
        "size": ("builder.keepcli:size", "Show what takes space in an image."),
        "sign": ("builder.keepcli:sign", "Sign an image's SHA256SUMS with an SSH key."),
        "verify": ("builder.keepcli:verify", "Check an image's sums and signature."),
        "prune": ("builder.keepcli:prune", "Remove layers that nobody used for long."),
        "tree": ("builder.cli:tree", "Lay out an image's root as a directory."),
        "test": ("builder.testcli:test", "Boot an image, or a finished artifact, and prove what it is."),
    },
)
def image() -> None:
    """Seeds, disk images, base images."""


if TYPE_CHECKING:
    from lab.model import LabSpec


def mirrored(context: Context, destination: str | None) -> LabSpec | None:
    """The lab of the deploy file in this project, where there is one."""
    from deployer.rehearsal import project_spec

    if not (context.root / "config" / "deploy.yml").exists():
        return None
    return project_spec(context.root, runner=context.runner, environ=context.environ, destination=destination)


@click.command()
@hostless
@common_options
@pass_context
def version(context: Context) -> None:
    """Show the version of Freehold."""
    if context.console.json:
        context.console.data({"freehold": __version__})
    else:
        context.console.print(__version__)


def __getattr__(name: str) -> click.Group:
    # The group is made on demand: importing it costs libvirt.
    if name != "lab":
        raise AttributeError(name)
    from lab.cli import make_group

    return make_group(mirrored)
