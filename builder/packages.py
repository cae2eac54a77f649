"""Which Debian packages an image is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from builder import mirror
from builder.spec import ARCHES, SUITES, BaseSpec, ImageSpec
from freehold.errors import BuildError, ConfigError, FreeholdError

# What every host has, whatever its profile asks for. Recommended packages are not installed.
SYSTEM = (
    "ca-certificates",
    "cloud-init",
    "curl",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "init",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "less",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
    "zstd",
)

# What apt says of a package that the suite does not have, or has only a mention of.
_UNKNOWN = re.compile(r"E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate)")


def image_packages(spec: ImageSpec, recipe: Iterable[str]) -> tuple[str, ...]:
    """Sorted names for a golden image: system, boot chain, kernel, Docker, the recipe's, the spec's."""
    suite, arch = SUITES[spec.suite], ARCHES[spec.arch]
    kernel = f"linux-image-cloud-{arch.name}" if spec.kernel == "cloud" else f"linux-image-{arch.name}"
    return tuple(
        sorted(
            {
                *SYSTEM,
                *suite.boot,
                *suite.docker,
                *arch.boot,
                kernel,
                "dosfstools",
                *recipe,
                *(mirror.PACKAGES if spec.raid1 else ()),
                *spec.packages,
            }
        )
    )


def layered(
    spec: ImageSpec, recipe: Iterable[str], usual: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`image_packages` in two parts: what images of this kind share, and what this one has on top.

    `recipe` is what its profile asks for, `usual` what the default profile does. A package more is then a
    small layer of its own, and the large one below is in the cache.
    """
    wanted = set(image_packages(spec, recipe))
    shared = wanted & set(image_packages(replace(spec, packages=(), raid1=False), usual))
    return tuple(sorted(shared)), tuple(sorted(wanted - shared))


def unknown(error: BuildError, spec: ImageSpec) -> FreeholdError:
    """`error`, or where apt says in it that the suite lacks packages: which, and where they stand."""
    lacking = [found[1] or found[2] for line in error.details if (found := _UNKNOWN.fullmatch(line.strip()))]
    if not lacking:
        return error
    message = f"{spec.suite} ({spec.arch}) has no package {', '.join(map(repr, lacking))}"
    hint = f"`apt-cache search WORD` on a host of {spec.suite} finds the name"
    if spec.profile is not None:
        for index, name in enumerate(spec.profile.packages):
            where = spec.profile.places.get(f"packages[{index}]")
            if name in lacking and where is not None:
                return ConfigError(message, where=where, hint=hint)
    return BuildError(message, hint=hint)


def base_packages(spec: BaseSpec) -> tuple[str, ...]:
    """Sorted names for an application base image, on top of Debian's essential set."""
    return tuple(sorted({"ca-certificates", "netbase", "tzdata", *spec.packages}))


def pruned() -> tuple[str, ...]:
    """dpkg options that leave out what no server reads: manuals, translations, documentation.

    Licences stay: Debian's packages may be given on only with their copyright file.
    """
    return (
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/doc/*",
        "path-include=/usr/share/doc/*/copyright",
        "path-exclude=/usr/share/info/*",
        "path-exclude=/usr/share/lintian/*",
        "path-exclude=/usr/share/locale/*",
        "path-include=/usr/share/locale/locale.alias",
    )
