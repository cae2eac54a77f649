"""The recipe: what a prepared host is, said once, as values.

A recipe is an ordered list of steps. A step holds directories, files and a shell fragment written
with the words of `data/library.sh` (`changed`, `enable`, `start`, `notify`, ...). `script.py` renders
it for a live host or for a root tree, `cloudconfig.py` for a vendor image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cloudinit.claims import refuse_claimed
from cloudinit.parts import base, docker, extras, firewall, proxy, ssh, updates, users
from cloudinit.profile import HostProfile
from cloudinit.steps import Step


@dataclass(frozen=True)
class Recipe:
    """A prepared host. `packages` are Debian's, `suite_packages` those that only some releases have.

    `secrets` names what in the recipe must not be read by others, such as a password's hash.
    """

    steps: tuple[Step, ...]
    packages: tuple[str, ...]
    suite_packages: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    secrets: tuple[str, ...] = ()

    def packages_for(self, suite: str) -> tuple[str, ...]:
        """All packages on one release, by its code name (`bookworm`)."""
        return tuple(dict.fromkeys((*self.packages, *self.suite_packages.get(suite, ()))))

    @property
    def digest(self) -> str:
        """Changes when anything in the recipe does; a host remembers it."""
        text = repr((self.steps, self.packages, sorted(self.suite_packages.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_recipe(profile: HostProfile) -> Recipe:
    """The recipe of a profile. References to keys that are not read yet are left out.

    ConfigError at a file of the profile's that the recipe itself writes.
    """
    steps = [
        *proxy.before_packages(profile),
        *docker.before_packages(profile),
        base.packages(),
        *users.steps(profile),
        *firewall.before_ssh(profile),
        *ssh.steps(profile),
        *firewall.steps(profile),
        *docker.steps(profile),
        *proxy.steps(profile),
        *updates.steps(profile),
        *base.steps(profile),
        *extras.steps(profile),
    ]
    refuse_claimed(profile, steps)
    packages = (
        *base.PACKAGES,
        *ssh.PACKAGES,
        *docker.PACKAGES,
        *firewall.packages(profile),
        *updates.packages(profile),
        *base.packages_of(profile),
        *profile.packages,
    )
    return Recipe(
        tuple(steps),
        tuple(dict.fromkeys(packages)),
        MappingProxyType(docker.SUITE_PACKAGES),
        (*users.secrets(profile), *docker.secrets(profile), *extras.secrets(profile)),
    )
