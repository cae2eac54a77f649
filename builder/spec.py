"""What to build: frozen values, checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from freehold.errors import UsageError
from freehold.settings import near

if TYPE_CHECKING:
    from cloudinit.profile import HostProfile

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

Kernel = Literal["cloud", "generic"]
KERNELS: tuple[Kernel, ...] = ("cloud", "generic")


@dataclass(frozen=True)
class Suite:
    """A release that can be built. `docker` names the packages that make Docker Engine and its client.

    `cloud_sata`: its cloud kernel drives SATA (CONFIG_SATA_AHCI), where a PC has its CD drive and disks.
    """

    codename: str
    system: str
    version: str
    docker: tuple[str, ...]
    boot: tuple[str, ...] = ()
    cloud_sata: bool = True


SUITES: dict[str, Suite] = {
    "bookworm": Suite("bookworm", "debian", "12", ("docker.io",), cloud_sata=False),
    # Debian 13 split the client from the engine, and systemd-repart from systemd.
    "trixie": Suite("trixie", "debian", "13", ("docker.io", "docker-cli"), ("systemd-repart",)),
}


@dataclass(frozen=True)
class Arch:
    """A machine type. `linux` is the suffix of kernel packages, `efi` that of the removable boot path."""

    name: str
    qemu: str
    efi: str
    grub_efi: str
    root_type: str
    bios: bool
    boot: tuple[str, ...]


ARCHES: dict[str, Arch] = {
    "amd64": Arch(
        name="amd64",
        qemu="x86_64",
        efi="x64",
        grub_efi="x86_64-efi",
        root_type="4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
        bios=True,
        boot=("grub-cloud-amd64", "grub-efi-amd64-signed", "shim-signed"),
    ),
    "arm64": Arch(
        name="arm64",
        qemu="aarch64",
        efi="aa64",
        grub_efi="arm64-efi",
        root_type="B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
        bios=False,
        boot=("grub-efi-arm64", "grub-efi-arm64-signed", "shim-signed"),
    ),
}

MINIMUM_SIZE = 2 * GiB
PACKAGE = re.compile(r"^[a-z0-9][a-z0-9+.-]+$")
BASE_NAME = re.compile(r"^[a-z0-9]+([._/-][a-z0-9]+)*(:[\w][\w.-]{0,127})?$")


def parse_suite(text: str) -> str:
    """The codename of `bookworm`, `12`, `debian-12` or `debian12`; UsageError for another."""
    wanted = text.strip().lower()
    for suite in SUITES.values():
        names = {
            suite.codename,
            suite.version,
            f"{suite.system}-{suite.version}",
            f"{suite.system}{suite.version}",
            f"{suite.system}-{suite.codename}",
        }
        if wanted in names:
            return suite.codename
    known = [f"{suite.system}-{suite.version}" for suite in SUITES.values()]
    guess = near(wanted, [*known, *SUITES])
    raise UsageError(
        f"unknown suite {text!r}",
        hint=f"did you mean {guess!r}?" if guess else f"known: {', '.join(known)}",
    )


def parse_size(text: str) -> int:
    """Bytes of `4G`, `4GiB`, `4096M`, `10g`; UsageError for another. Units are powers of 1024."""
    found = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)(?:i?b)?\s*", text, re.IGNORECASE)
    if not found:
        raise UsageError(f"{text!r} is no size", hint="write it as 4G or 4096M")
    factor = {"": 1, "k": KiB, "m": MiB, "g": GiB, "t": 1024 * GiB}[found[2].lower()]
    return int(found[1]) * factor


def check_packages(packages: tuple[str, ...]) -> None:
    """UsageError unless every name follows Debian policy (5.6.1), so that none is read as an option."""
    for name in packages:
        if not PACKAGE.match(name):
            raise UsageError(
                f"{name!r} is no package name",
                hint="a package name has lower-case letters, digits, '+', '-' and '.'",
            )


@dataclass(frozen=True)
class ImageSpec:
    """A golden image.

    `size` is the virtual disk in bytes (a multiple of 1 MiB); a larger disk is taken up on first boot.
    `kernel` is `cloud` (virtio, NVMe, Xen, Hyper-V; SATA from Debian 13 on; no USB) or `generic`.
    `profile` is what the host is to be; None is the default profile.
    `packages` come on top of those that the host profile asks for.
    `raid1`: for a host on two disks, which the installer makes (`builder.mirror`).
    """

    suite: str = "trixie"
    arch: str = "amd64"
    size: int = 4 * GiB
    kernel: Kernel = "cloud"
    profile: HostProfile | None = None
    packages: tuple[str, ...] = ()
    raid1: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "suite", parse_suite(self.suite))
        check_arch(self.arch)
        if self.kernel not in KERNELS:
            raise UsageError(f"unknown kernel {self.kernel!r}", hint=f"known: {', '.join(KERNELS)}")
        if self.size < MINIMUM_SIZE or self.size % MiB:
            raise UsageError(
                f"a disk of {self.size} bytes cannot hold the image",
                hint=f"at least {MINIMUM_SIZE // GiB}G, in whole MiB",
            )
        if self.raid1 and not ARCHES[self.arch].bios:
            raise UsageError(f"there is no mirror of two disks for {self.arch} yet", hint="amd64 has one")
        check_packages(self.packages)


@dataclass(frozen=True)
class BaseSpec:
    """A small container image to stand in `FROM`: Debian's essential packages and `packages`."""

    name: str
    suite: str = "trixie"
    arch: str = "amd64"
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "suite", parse_suite(self.suite))
        check_arch(self.arch)
        if not BASE_NAME.match(self.name):
            raise UsageError(f"{self.name!r} is no image name", hint="such as debian-python or acme/base:1")
        check_packages(self.packages)

    @property
    def reference(self) -> str:
        """The image's name with its tag."""
        return self.name if ":" in self.name else f"{self.name}:latest"


def check_arch(arch: str) -> None:
    """UsageError unless `arch` can be built."""
    if arch not in ARCHES:
        guess = near(arch, list(ARCHES)) or {"x86_64": "amd64", "aarch64": "arm64"}.get(arch)
        hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(ARCHES)}"
        raise UsageError(f"unknown architecture {arch!r}", hint=hint)
