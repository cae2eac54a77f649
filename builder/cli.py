"""`freehold image`: build, base, tree, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cliopts import read_seed, spec_of, spec_options, words
from builder.formats import FORMATS, Format
from builder.spec import BaseSpec, parse_suite
from freehold.command import Context, LazyGroup, common_options, pass_context
from freehold.console import size as human

if TYPE_CHECKING:
    from builder.image import Image


@click.group(
    cls=LazyGroup,
    lazy={
        "build": ("builder.cli:build", "Build a golden disk image."),
        "installer": ("builder.barecli:installer", "Write the ISO that installs a bare machine."),
        "netboot": ("builder.barecli:netboot", "Write, and serve, what installs machines over HTTP."),
        "remaster": ("builder.barecli:remaster", "Make a vendor's ISO unattended."),
        "base": ("builder.cli:base", "Build a container base image of Debian packages."),
        "list": ("builder.cli:list_", "List the golden images in the cache."),
        "size": ("builder.keepcli:size", "Show what takes space in an image."),
        "sign": ("builder.keepcli:sign", "Sign an image's SHA256SUMS with an SSH key."),
        "verify": ("builder.keepcli:verify", "Check an image's sums and signature."),
        "prune": ("builder.keepcli:prune", "Remove layers that nobody used for long."),
        "test": ("builder.testcli:test", "Boot an image, or what was made of one, and check it over SSH."),
        "tree": ("builder.cli:tree", "Lay out a golden image's root as a directory."),
        "seed": ("cloudinit.cli:seed", "Write the seed of a host."),
    },
)
def image() -> None:
    """Make images that turn a machine into a ready host."""


def _described(found: Image) -> dict[str, Any]:
    return {
        "key": found.key,
        "suite": found.suite,
        "arch": found.arch,
        "qcow2": str(found.qcow2),
        "kernel": str(found.kernel),
        "initrd": str(found.initrd),
        "cmdline": found.cmdline,
        "manifest": str(found.manifest),
        "size": found.size,
        "virtual_size": found.virtual_size,
    }


@click.command()
@spec_options()
@click.option(
    "--format",
    "wanted",
    type=click.Choice(FORMATS),
    default="qcow2",
    show_default=True,
    help="The form of the disk.",
)
@click.option(
    "--seed",
    "folder",
    type=click.Path(path_type=Path),
    help="Put this seed (a directory with user-data and meta-data) into the image.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Also copy the disk to this file.")
@common_options
@pass_context
def build(
    context: Context,
    /,
    wanted: Format,
    folder: Path | None,
    output: Path | None,
    mirror: str,
    refresh: bool,
    **options: Any,
) -> None:
    """Build a golden disk image: kernel, Docker, proxy and cloud-init, as qcow2, raw or Vagrant box.

    It boots under BIOS, UEFI and Secure Boot, and the root grows to the disk on first boot.
    The same inputs give the same bytes; unchanged layers come from the cache.
    """
    from builder.formats import copy_out, make_format
    from builder.image import build_image

    seed = read_seed(folder) if folder is not None else None
    found = build_image(
        spec_of(context, options),
        runner=context.runner,
        console=context.console,
        mirror=mirror,
        refresh=refresh,
    )
    disk = make_format(found, wanted, runner=context.runner, console=context.console, seed=seed)
    if output is not None:
        private = folder is not None or options["allow_secrets"]
        copy_out(disk, output, context.runner, private=private)
    if context.console.json:
        more = {"format": wanted, "disk": str(disk)} | ({"output": str(output)} if output else {})
        context.console.data(_described(found) | more)
    else:
        context.console.print(str(output or disk))


@click.command()
@spec_options()
@common_options
@pass_context
def tree(context: Context, /, mirror: str, refresh: bool, **options: Any) -> None:
    """Lay out a golden image's root as a directory, from the same layers."""
    from builder.image import build_tree

    path = build_tree(
        spec_of(context, options),
        runner=context.runner,
        console=context.console,
        mirror=mirror,
        refresh=refresh,
    )
    if context.console.json:
        context.console.data({"tree": str(path)})
    else:
        context.console.print(str(path))


@click.command()
@click.argument("name")
@click.option("--suite", default="debian-13", show_default=True, help="debian-12 or debian-13.")
@click.option("--arch", default="amd64", show_default=True, help="amd64 or arm64.")
@click.option("--packages", default="", help="Debian packages, separated by commas.")
@click.option("--mirror", default="", help="The Debian mirror to use.")
@click.option("--refresh", is_flag=True, help="Fetch packages again, though nothing changed.")
@common_options
@pass_context
def base(
    context: Context, name: str, suite: str, arch: str, packages: str, mirror: str, refresh: bool
) -> None:
    """Build a container base image for `FROM NAME`, as an archive for `docker load`."""
    from builder.base import build_base

    found = build_base(
        BaseSpec(name, parse_suite(suite), arch, words(packages)),
        runner=context.runner,
        console=context.console,
        mirror=mirror,
        refresh=refresh,
    )
    if context.console.json:
        context.console.data(
            {"name": found.name, "tar": str(found.tar), "digest": found.digest, "size": found.size}
        )
    else:
        context.console.print(str(found.tar))


@click.command("list")
@common_options
@pass_context
def list_(context: Context) -> None:
    """List the golden images in the cache, the newest first."""
    from builder.image import list_images

    found = list_images()
    if context.console.json:
        context.console.data([_described(entry) for entry in found])
        return
    if not found:
        context.console.info("no images yet; `freehold image build` makes one")
        return
    context.console.table(
        ("key", "suite", "arch", "size", "disk"),
        [
            (entry.key, entry.suite, entry.arch, human(entry.size), human(entry.virtual_size))
            for entry in found
        ],
    )
