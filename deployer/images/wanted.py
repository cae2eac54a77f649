"""The build that a configuration asks for: from `builder` to a request. Pure but for looking at folders."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer.config import DeployConfig
from deployer.engine import Engine
from deployer.images.request import TO_ENGINE, BuildRequest
from freehold.errors import ConfigError
from freehold.source import Location

NAME = "freehold"


def latest_name(config: DeployConfig) -> str:
    """The tag beside the version's, as Kamal has it: `latest`, with a destination `latest-staging`."""
    return f"{config.repository}:{'-'.join(filter(None, ('latest', config.destination)))}"


def attested(value: bool | str | None) -> bool:
    """Whether `provenance` or `sbom` asks for an attestation."""
    return value not in (None, False, "false")


def builder_name(config: DeployConfig, *, together: bool = False) -> str | None:
    """The buildx builder that is needed beside the engine's own; None where that one does.

    `together`: several architectures in one push.
    """
    driver = config.builder.driver
    if driver and driver.startswith("cloud"):
        return driver.replace(" ", "-").replace("/", "-")
    if driver in ("docker", "podman"):
        return None
    builder = config.builder
    needed = driver or builder.cache or attested(builder.provenance) or attested(builder.sbom) or together
    return f"{NAME}-docker-container" if needed else None


def builds_remotely(config: DeployConfig, own_arch: str) -> bool:
    """Whether the remote builder is asked: always with `local: false`, else for other processors only."""
    builder = config.builder
    if not builder.remote:
        return False
    return not (builder.local and builder.arch and all(arch == own_arch for arch in builder.arch))


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
    latest: bool = False,
    environ: Mapping[str, str] | None = None,
) -> BuildRequest:
    """The request for an image at a version, for one architecture or (buildx only) several.

    ConfigError: `builder` contradicts itself, a folder or a secret is missing.
    """
    builder = config.builder
    context = builder.context or "."
    if "://" not in context and not (directory / context).is_dir():
        raise ConfigError(
            f"there is no directory {context}",
            where=Location(config.file, key="builder.context"),
            hint="the path is relative to the project",
        )
    _refuse_simple_driver(config)
    names = [config.image_name(version), *([latest_name(config)] if latest else [])]
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
        builder=builder_name(config, together=len(arches) > 1),
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
