"""`freehold image`: build, base, tree, list, test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.spec import KERNELS, BaseSpec, ImageSpec, parse_size, parse_suite
from freehold.command import Context, LazyGroup, common_options, pass_context
from freehold.console import size as human
from freehold.errors import ConfigError

if TYPE_CHECKING:
    from builder.image import Image
    from cloudinit.profile import HostProfile

PROFILE = Path("config/host.yml")


@click.group(
    cls=LazyGroup,
    lazy={
        "build": ("builder.cli:build", "Build a golden disk image."),
        "base": ("builder.cli:base", "Build a container base image of Debian packages."),
        "list": ("builder.cli:list_", "List the golden images in the cache."),
        "test": ("builder.cli:test", "Boot a golden image and check it over SSH."),
        "tree": ("builder.cli:tree", "Lay out a golden image's root as a directory."),
        "seed": ("cloudinit.cli:seed", "Write the seed of a host."),
    },
)
def image() -> None:
    """Make images that turn a machine into a ready host."""


def _spec_options(function: Any) -> Any:
    for option in reversed(
        (
            click.option("--suite", default="trixie", show_default=True, help="debian-12, debian-13, ..."),
            click.option("--arch", default="amd64", show_default=True, help="amd64 or arm64."),
            click.option("--size", default="4G", show_default=True, help="The virtual disk's size."),
            click.option(
                "--kernel",
                type=click.Choice(KERNELS),
                default="cloud",
                show_default=True,
                help="cloud: virtual machines; generic: any hardware.",
            ),
            click.option("--packages", default="", help="More Debian packages, separated by commas."),
            click.option(
                "--profile",
                type=click.Path(path_type=Path),
                help=f"The host profile.  [default: {PROFILE} where it exists]",
            ),
            click.option("--mirror", default="", help="The Debian mirror to use."),
            click.option("--refresh", is_flag=True, help="Fetch packages again, though nothing changed."),
        )
    ):
        function = option(function)
    return function


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _profile(context: Context, path: Path | None) -> HostProfile | None:
    from cloudinit.profile import load_profile

    if path is None:
        path = context.root / PROFILE
        return load_profile(path) if path.exists() else None
    if not path.is_file():
        raise ConfigError(f"there is no host profile {path}", hint="leave --profile out for the default")
    return load_profile(path)


def _spec(context: Context, options: dict[str, Any]) -> ImageSpec:
    return ImageSpec(
        suite=parse_suite(options["suite"]),
        arch=options["arch"],
        size=parse_size(options["size"]),
        kernel=options["kernel"],
        profile=_profile(context, options["profile"]),
        packages=_words(options["packages"]),
    )


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
@_spec_options
@click.option("--output", type=click.Path(path_type=Path), help="Also copy the qcow2 to this file.")
@common_options
@pass_context
def build(context: Context, /, output: Path | None, mirror: str, refresh: bool, **options: Any) -> None:
    """Build a golden disk image: qcow2 with kernel, Docker, proxy and cloud-init.

    It boots under BIOS, UEFI and Secure Boot, and the root grows to the disk on first boot.
    The same inputs give the same bytes; unchanged layers come from the cache.
    """
    from builder.image import build_image, copy_image

    found = build_image(
        _spec(context, options),
        runner=context.runner,
        console=context.console,
        mirror=mirror,
        refresh=refresh,
    )
    if output is not None:
        copy_image(found, output)
    if context.console.json:
        context.console.data(_described(found) | ({"output": str(output)} if output else {}))
    else:
        context.console.print(str(output or found.qcow2))


@click.command()
@_spec_options
@common_options
@pass_context
def tree(context: Context, /, mirror: str, refresh: bool, **options: Any) -> None:
    """Lay out a golden image's root as a directory, from the same layers."""
    from builder.image import build_tree

    path = build_tree(
        _spec(context, options),
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
@click.option("--suite", default="trixie", show_default=True, help="debian-12, debian-13, ...")
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
        BaseSpec(name, parse_suite(suite), arch, _words(packages)),
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


@click.command()
@_spec_options
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(("direct", "bios", "uefi", "secure")),
    help="How to boot; may be given several times.  [default: bios, secure]",
)
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    default=Path("image-test"),
    show_default=True,
    help="Where serial logs and screenshots go.",
)
@common_options
@pass_context
def test(
    context: Context, /, modes: tuple[str, ...], evidence: Path, mirror: str, refresh: bool, **options: Any
) -> None:
    """Boot a golden image in QEMU and run the host checks over SSH."""
    from builder.image import build_image
    from builder.report import report, trials

    spec = _spec(context, options)
    found = build_image(spec, runner=context.runner, console=context.console, mirror=mirror, refresh=refresh)
    results = trials(found, spec, modes, runner=context.runner, console=context.console, evidence=evidence)
    report(results, context.console)
