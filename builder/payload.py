"""What the host profile contributes to an image: packages, files, and a script that runs in the tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.store import digest, file_digest
from cloudinit.profile import HostProfile
from cloudinit.proxybinary import local_caddy
from cloudinit.recipe import make_recipe
from cloudinit.script import as_script
from freehold.errors import BuildError

PROXY = "/usr/local/bin/caddy"


@dataclass(frozen=True)
class TreeFile:
    """A file of the tree, owned by root. `path` is absolute inside the tree."""

    path: str
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Payload:
    """The recipe, ready for a tree without a running system.

    `binaries` are large files copied from this machine: path in the tree → file here, installed 0755.
    `script` is run by bash inside the tree, after `files` are in place.
    """

    packages: tuple[str, ...] = ()
    files: tuple[TreeFile, ...] = ()
    binaries: Mapping[str, Path] = field(default_factory=dict)
    script: str = ""

    def key(self) -> str:
        """A digest of everything but the packages, which make a layer of their own."""
        return digest(
            [[file.path, file.mode] for file in self.files],
            *(file.data for file in self.files),
            self.binary_digests(),
            self.script,
        )

    def binary_digests(self) -> dict[str, str]:
        """Path in the tree → SHA-256; BuildError for a binary that is not there."""
        for source in self.binaries.values():
            if not source.is_file():
                raise BuildError(f"{source} is missing", hint="`make setup` installs what Freehold needs")
        return {path: file_digest(source) for path, source in sorted(self.binaries.items())}


def payload(profile: HostProfile | None, suite: str, proxy: Path | None = None) -> Payload:
    """What `profile` (None: the default) contributes to an image of `suite`.

    `proxy` is the proxy's program; None is the one for this machine's type.
    """
    recipe = make_recipe(profile if profile is not None else HostProfile())
    return Payload(
        packages=recipe.packages_for(suite),
        binaries={PROXY: proxy or local_caddy()},
        script=as_script(recipe, offline=True),
    )
