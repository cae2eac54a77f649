"""Options that the image commands share, and what they make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.spec import KERNELS, ImageSpec, Kernel, parse_size, parse_suite
from freehold.command import Context
from freehold.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from cloudinit.profile import HostProfile

PROFILE = Path("config/host.yml")


def spec_options(*, kernel: Kernel = "cloud") -> Callable[[Any], Any]:
    """The options that say which image is meant; `kernel` is the default kernel."""

    def decorate(function: Any) -> Any:
        for option in reversed(
            (
                click.option(
                    "--suite", default="debian-13", show_default=True, help="debian-12 or debian-13."
                ),
                click.option("--arch", default="amd64", show_default=True, help="amd64 or arm64."),
                click.option("--size", default="4G", show_default=True, help="The virtual disk's size."),
                click.option(
                    "--kernel",
                    type=click.Choice(KERNELS),
                    default=kernel,
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
                click.option(
                    "--allow-secrets",
                    is_flag=True,
                    help="The image may hold what is secret in the profile, for every user of this machine.",
                ),
                click.option("--refresh", is_flag=True, help="Fetch packages again, though nothing changed."),
            )
        ):
            function = option(function)
        return function

    return decorate


def words(text: str) -> tuple[str, ...]:
    """`a, b` as its parts."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def profile_or_none(context: Context, path: Path | None) -> HostProfile | None:
    """The profile of `--profile` or of the project; None where there is neither."""
    from cloudinit.profile import load_profile

    if path is None:
        path = context.root / PROFILE
        return load_profile(path, name=str(PROFILE)) if path.exists() else None
    if not path.is_file():
        raise ConfigError(f"there is no host profile {path}", hint="leave --profile out for the default")
    return load_profile(path)


def profile_of(context: Context, path: Path | None) -> HostProfile:
    """As `profile_or_none`, with the default profile in place of None."""
    from cloudinit.profile import HostProfile

    return profile_or_none(context, path) or HostProfile()


def spec_of(context: Context, options: dict[str, Any]) -> ImageSpec:
    """The image that the options mean; UsageError for a wrong one, and for secrets that are not allowed."""
    profile = profile_or_none(context, options["profile"])
    if profile is not None and not options.get("allow_secrets", False):
        _refuse_secrets(profile)
    return ImageSpec(
        suite=parse_suite(options["suite"]),
        arch=options["arch"],
        size=parse_size(options["size"]),
        kernel=options["kernel"],
        profile=profile,
        packages=words(options["packages"]),
        raid1=options.get("raid1", False),
    )


def _refuse_secrets(profile: HostProfile) -> None:
    from cloudinit.recipe import make_recipe

    found = make_recipe(profile).secrets
    if found:
        raise UsageError(
            f"the image would hold secrets: {', '.join(found)}",
            hint="layers and images in the cache are readable by other users of this machine; "
            "--allow-secrets where that is no harm",
        )


SEED_FILES = ("user-data", "meta-data", "network-config", "vendor-data")


def read_seed(folder: Path) -> dict[str, bytes]:
    """The files of a seed's directory; InputError where it is none, or has a network that no image makes."""
    from cloudinit.ownparts import read_network

    found = {name: (folder / name).read_bytes() for name in SEED_FILES if (folder / name).is_file()}
    if not {"user-data", "meta-data"} <= found.keys():
        raise UsageError(
            f"{folder} is no seed: user-data and meta-data are needed",
            hint="`freehold image seed` writes one",
        )
    if "network-config" in found:
        network = folder / "network-config"
        read_network(network, str(network), golden=True)
    return found
