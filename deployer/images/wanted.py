"""The build that a configuration asks for: from `builder` to a request. Pure but for looking at folders."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer.commands.registry import host_of
from deployer.config import DeployConfig
from deployer.config.delivery import Cache
from deployer.engine import Engine
from deployer.images.builder import (
    CERTIFICATES,
    CONTAINER,
    Builder,
    Node,
    buildkit_settings,
    certificates_below,
)
from deployer.images.context import far
from deployer.images.request import TO_ENGINE, TO_REGISTRY, BuildRequest
from freehold.errors import ConfigError
from freehold.source import Location


def latest_name(config: DeployConfig) -> str:
    """The tag beside the version's, as Kamal has it: `latest`, with a destination `latest-staging`."""
    return f"{config.repository}:{'-'.join(filter(None, ('latest', config.destination)))}"


def attested(value: bool | str | None) -> bool:
    """Whether `provenance` or `sbom` asks for an attestation."""
    return value not in (None, False, "false")


def left_out(config: DeployConfig, *, registry: bool, environ: Mapping[str, str]) -> dict[str, str]:
    """Keys that this command does without, and why; the image has the same content without them.

    `registry`: the image goes through it, this time.
    """
    builder, found = config.builder, {}
    aside = config.registry is not None and config.registry.wanted and not registry
    if builder.cache and builder.cache.type == "registry" and not registry:
        found["cache"] = "it is kept in the registry, through which this image does not go"
    if builder.cache and builder.cache.type == "gha" and not _in_actions(builder.cache, environ):
        found["cache"] = "it is a part of GitHub Actions, and this does not run there"
    for key in ("provenance", "sbom"):
        if aside and attested(getattr(builder, key)):
            found[key] = "an attestation is kept in the registry only"
    return found


def _in_actions(cache: Cache, environ: Mapping[str, str]) -> bool:
    """Whether buildx would use GitHub's cache: without its token it says nothing and does without."""
    told = [option.partition("=")[0] for option in (cache.options or "").split(",")]
    return bool(environ.get("ACTIONS_RUNTIME_TOKEN")) or "token" in told


def effective(config: DeployConfig, *, registry: bool, environ: Mapping[str, str]) -> DeployConfig:
    """The configuration without the keys that are left out."""
    without = left_out(config, registry=registry, environ=environ)
    builder = dataclasses.replace(config.builder, **dict.fromkeys(without))  # type: ignore[arg-type]
    return dataclasses.replace(config, builder=builder)


def beside(
    config: DeployConfig,
    engine: Engine,
    *,
    arches: Sequence[str] = (),
    output: str = TO_ENGINE,
    environ: Mapping[str, str] | None = None,
) -> Builder | None:
    """The buildx builder that is needed beside the engine's own; None where that one does.

    `arches` are those of one build. The engine's own does more where it keeps images in containerd.
    """
    builder = config.builder
    if builder.driver in ("docker", "podman") or builder.pack:
        return None
    own = engine.store == "containerd"
    kind, _, rest = output.partition(",")
    archive = kind == "oci" or (kind == TO_ENGINE and "dest=" in rest)
    reasons = (
        (builder.driver, "builder.driver"),
        (len(arches) > 1, "several architectures under builder.arch"),
        (builder.cache and not own, "builder.cache"),
        (attested(builder.provenance) and not own, "builder.provenance"),
        (attested(builder.sbom) and not own, "builder.sbom"),
        (archive and not own, f"output to {kind}"),
    )
    wanted_by = next((key for value, key in reasons if value), None)
    if wanted_by is None:
        return None
    found = Builder(builder.driver or CONTAINER, engine.host or engine.context, wanted_by)
    if found.kind != CONTAINER:
        return found
    # Where the engine has no bridge, its containers have no network of their own.
    network = "host" if engine.private else ""
    nodes: tuple[Node, ...] = (Node(network=network),)
    if builder.remote and not engine.remote and engine.arch in arches and len(arches) > 1:
        others = tuple(f"linux/{arch}" for arch in arches if arch != engine.arch)
        nodes = (Node("", (f"linux/{engine.arch}",), network), Node(builder.remote, others))
    return dataclasses.replace(found, nodes=nodes, settings=_settings(config, engine, environ or {}))


def place(config: DeployConfig, engine: Engine, *, arches: Sequence[str], environ: Mapping[str, str]) -> str:
    """Where a build leaves an image for a registry: there itself, or in the engine, which then pushes it.

    What a builder beside the engine's own makes would have to be copied into the engine first, and an
    index (of architectures or attestations) is no image to an engine.
    """
    builder = config.builder
    if builder.pack:
        return TO_ENGINE
    index = attested(builder.provenance) or attested(builder.sbom)
    straight = index or beside(config, engine, arches=arches, environ=environ)
    return TO_REGISTRY if straight else TO_ENGINE


def _settings(config: DeployConfig, engine: Engine, environ: Mapping[str, str]) -> str:
    """What BuildKit is told of registries; nothing where the user tells every builder already."""
    home = Path(environ.get("HOME", "/"))
    place = environ.get("BUILDX_CONFIG") or Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "buildx"
    if (Path(place) / "buildkitd.default.toml").is_file():
        return ""
    folder = environ.get("XDG_CONFIG_HOME") or home / ".config"
    known = certificates_below(CERTIFICATES, Path(folder) / "docker" / "certs.d")
    server = host_of(config.registry.server) if config.registry and config.registry.server else ""
    return buildkit_settings(engine.registries, server, known)


def builds_remotely(config: DeployConfig, own_arch: str, arches: Sequence[str] | None = None) -> bool:
    """Whether the remote builder is asked: always with `local: false`, else for other processors only.

    `arches` are those of one build (default: all). Of several the ones of this computer are built here.
    """
    builder = config.builder
    if not builder.remote:
        return False
    return not (builder.local and own_arch in (builder.arch if arches is None else arches))


def make_request(
    config: DeployConfig,
    version: str,
    directory: Path,
    engine: Engine,
    *,
    arches: Sequence[str] = (),
    output: str = TO_ENGINE,
    no_cache: bool = False,
    suffix: str = "",
    registry: bool = False,
    environ: Mapping[str, str] | None = None,
) -> BuildRequest:
    """The request for an image at a version, for one architecture or (buildx only) several.

    `registry`: the image goes through it, under the name `latest` too. Without it there are keys that
    are left out, of which `left_out` tells. ConfigError: `builder` contradicts itself, a folder or a secret
    is missing.
    """
    _refuse_simple_driver(config)
    config = effective(config, registry=registry, environ=environ or {})
    builder = config.builder
    context = builder.context or "."
    if not far(context) and not (directory / context).is_dir():
        raise ConfigError(
            f"there is no directory {context}",
            where=Location(config.file, key="builder.context"),
            hint="the path is relative to the project",
        )
    _refuse_attestations(config, engine)
    names = [config.image_name(version), *([latest_name(config)] if registry else [])]
    source, target = cache_words(config)
    platforms = [f"linux/{arch}" for arch in arches]
    own = platforms == [f"linux/{engine.arch}"]
    return BuildRequest(
        directory=directory,
        tags=tuple(f"{name}{suffix}" for name in names),
        context=context,
        dockerfile=builder.dockerfile,
        target=builder.target,
        platform=None if own or not platforms else ",".join(platforms),
        args=builder.args,
        labels={"service": config.service},
        secrets={
            name: config.secret(name, wanted_by=f"{config.file} builder.secrets") for name in builder.secrets
        },
        ssh=(string.Template(builder.ssh).safe_substitute(environ or {}),) if builder.ssh else (),
        cache_from=source,
        cache_to=target,
        # The private engine has no bridge: steps of a build see the network of this computer.
        network="host" if engine.private else None,
        no_cache=no_cache,
        builder=beside(config, engine, arches=arches, output=output, environ=environ),
        output=output,
        provenance=_word(builder.provenance),
        sbom=_word(builder.sbom),
    )


def _word(value: bool | str | None) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else value


def cache_words(config: DeployConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`--cache-from` and `--cache-to` of `builder.cache`, as Kamal writes them."""
    cache = config.builder.cache
    if cache is None:
        return (), ()
    options = [option for option in (cache.options or "").split(",") if option]
    if cache.type == "gha":
        # Only the options that say where the cache is count for reading it.
        readable = ("url", "url_v2", "token", "scope", "timeout")
        read = [option for option in options if option.partition("=")[0] in readable]
        return (",".join(["type=gha", *read]),), (",".join(["type=gha", *options]),)
    server = config.registry.server if config.registry and not config.registry.local else None
    reference = "/".join(filter(None, (server, cache.image or f"{config.image}-build-cache")))
    base = ["type=registry", f"ref={reference}"]
    return (",".join(base),), (",".join([*base, *options]),)


def _refuse_attestations(config: DeployConfig, engine: Engine) -> None:
    builder = config.builder
    for key in ("provenance", "sbom"):
        if builder.driver == "docker" and engine.store == "graph" and attested(getattr(builder, key)):
            raise ConfigError(
                "the driver docker makes no attestation where its engine keeps images in a graph driver",
                where=Location(config.file, key=f"builder.{key}"),
                hint="take builder.driver out; the right driver is chosen then",
            )


def _refuse_simple_driver(config: DeployConfig) -> None:
    builder = config.builder
    if builder.driver not in ("docker", "podman"):
        return
    for value, what in (
        (builder.remote, "remote builders"),
        (builder.cache, "a cache outside the engine"),
        (len(builder.arch) > 1, "several architectures"),
    ):
        if value:
            raise ConfigError(
                f"the driver {builder.driver} knows no {what}",
                where=Location(config.file, key="builder.driver"),
                hint="take the line out; the right driver is chosen then",
            )
