"""How the image is built and where it is kept: the `builder` and `registry` sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from deployer.config import shorthand
from freehold.secret import Secret
from freehold.settings import fail, setting
from freehold.wording import describe
from freehold.yamlfile import Node


@dataclass(frozen=True)
class Credential:
    """A user name or password: the name of a secret, or text that stands in the file."""

    name: str | None = None
    literal: Secret | None = None

    def value(self, secrets: Callable[[str], Secret]) -> Secret:
        """The secret itself."""
        if self.name is not None:
            return secrets(self.name)
        return self.literal or Secret("")


def credential(node: Node) -> Credential:
    """`[NAME]` is the name of a secret; text stands for itself."""
    if node.kind == "list":
        elements = node.elements()
        if len(elements) != 1:
            fail(node, f"expected the name of one secret, found {len(elements)}", hint="write - NAME")
        return Credential(name=shorthand.text(elements[0]))
    if node.kind == "map":
        fail(node, f"expected text or a list with the name of one secret, found {describe(node)}")
    return Credential(literal=Secret(shorthand.text(node)))


CREDENTIAL: Mapping[str, object] = {
    "anyOf": [
        {"type": ["string", "number"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
    ]
}


@dataclass(frozen=True)
class Registry:
    """Where images are pushed to and pulled from; without one they travel over SSH."""

    server: str | None = setting(None, help="Registry; Docker Hub where absent.", example="ghcr.io")
    username: Credential | None = setting(
        None,
        parse=credential,
        schema=CREDENTIAL,
        form="text or list of text",
        help="User name, or a list with the name of its secret.",
    )
    password: Credential | None = setting(
        None,
        parse=credential,
        schema=CREDENTIAL,
        form="text or list of text",
        help="A list with the name of the secret that holds the password.",
    )

    @property
    def local(self) -> bool:
        """Kamal's `localhost:5555`: a registry on this machine, for which images travel over SSH."""
        return self.server is not None and self.server.partition(":")[0] == "localhost"

    @property
    def wanted(self) -> bool:
        """Whether images go through it when nobody says otherwise: it is named, and not Kamal's local one."""
        return not self.local and bool(self.server or self.username or self.password)


@dataclass(frozen=True)
class Cache:
    """Where layers of earlier builds are kept."""

    type: Literal["gha", "registry"] = setting(help="GitHub Actions' cache, or an image in the registry.")
    options: str | None = setting(None, help="Options of the cache.", example="mode=max")
    image: str | None = setting(
        None, help="Image that holds a registry cache; `<image>-build-cache` where absent."
    )


@dataclass(frozen=True)
class Pack:
    """A build without a Dockerfile, by Cloud Native Buildpacks."""

    builder: str = setting(help="Builder image.", example="heroku/builder:24")
    buildpacks: tuple[str, ...] = setting((), help="Buildpacks, in order.")


def remote(node: Node) -> str | None:
    """The address of a remote builder; `false` is none."""
    if node.value is False:
        return None
    return shorthand.text(node)


@dataclass(frozen=True)
class Builder:
    """How the image is built."""

    arch: tuple[str, ...] = setting(
        (),
        parse=shorthand.texts,
        schema=shorthand.TEXTS,
        form="text or list of text",
        help="Architectures to build for; that of the hosts where absent.",
        example="amd64",
    )
    context: str | None = setting(None, help="Build context; a clean clone of the repository where absent.")
    dockerfile: str = setting("Dockerfile", help="Dockerfile, relative to the project.")
    target: str | None = setting(None, help="Stage to build.")
    args: Mapping[str, str] = setting(
        factory=dict,
        parse=shorthand.clear_env,
        help="Build arguments; one without a value is the environment's, or the Dockerfile's default.",
        schema=shorthand.CLEAR,
    )
    secrets: tuple[str, ...] = setting((), help="Names of secrets mounted into the build.")
    ssh: str | None = setting(
        None, help="SSH agent or keys given to the build.", example="default=$SSH_AUTH_SOCK"
    )
    remote: str | None = setting(
        None,
        parse=remote,
        schema={"anyOf": [{"type": "string"}, {"const": False}]},
        help="Builder on another machine.",
        example="ssh://docker@builder",
    )
    local: bool = setting(True, help="Build on this machine what it can build itself.")
    driver: str | None = setting(
        None,
        help="Driver of buildx: docker, docker-container or `cloud org/builder`; or podman, which builds "
        "without docker. What the build needs where absent.",
    )
    cache: Cache | None = setting(
        None, help="Cache of layers; left out where an image does not go through the registry."
    )
    pack: Pack | None = setting(None, help="Build by buildpacks.")
    provenance: bool | str | None = setting(None, help="Provenance attestation.", example="mode=max")
    sbom: bool | str | None = setting(None, help="Software bill of materials.")
    spread: bool = setting(
        False,
        help="Send layers to one of several hosts only; the others fetch them there over SSH, by a key made "
        "for this once. Where a registry is used, hosts pull, and nothing is sent.",
    )

    def __post_init__(self) -> None:
        if self.pack and len(self.arch) > 1:
            raise ValueError("buildpacks build for one architecture only")
        if not self.local and not self.remote:
            raise ValueError("'local: false' needs a 'remote' builder")
