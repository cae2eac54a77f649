"""What is to be built, and the command line that builds it: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deployer.images.builder import Builder
from freehold.errors import BuildError
from freehold.secret import Secret

Tool = Literal["buildx", "buildkit", "classic", "podman"]
TO_ENGINE = "docker"
TO_REGISTRY = "registry"


@dataclass(frozen=True)
class BuildRequest:
    """One image. `directory` is where the build runs; `dockerfile` and `context` are relative to it.

    `platform` is `linux/arm64` where it is not the engine's own, or several with commas. Secrets reach
    the build as files that only this user can read, and end with it; they need BuildKit. `output` is
    where the image goes: the engine, a registry, or what else `buildx --output type=` knows.
    """

    directory: Path
    tags: tuple[str, ...]
    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str | None = None
    platform: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    ssh: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    network: str | None = None
    no_cache: bool = False
    builder: Builder | None = None
    output: str = TO_ENGINE
    provenance: str | None = None
    sbom: str | None = None


def build_tool(has_buildx: bool, client_version: str) -> Tool:
    """The best builder of a docker client: from 23.0 on BuildKit is reached only through buildx."""
    if has_buildx:
        return "buildx"
    major = client_version.partition(".")[0]
    return "buildkit" if major.isdigit() and 18 < int(major) < 23 else "classic"


def build_environment(tool: Tool) -> dict[str, str]:
    """What chooses the builder."""
    if tool in ("buildx", "podman"):
        return {}
    return {"DOCKER_BUILDKIT": "1" if tool == "buildkit" else "0"}


def build_argv(request: BuildRequest, tool: Tool, *, secret_files: Mapping[str, Path]) -> tuple[str, ...]:
    """The command; `secret_files` are the secrets' files by id. BuildError: this builder cannot do it."""
    _refuse(request, tool)
    words: list[str] = ["docker", *(_buildx(request) if tool == "buildx" else ("build",))]
    if tool == "podman":
        # Docker's form of an image: its configuration is what hosts know it by.
        words = ["podman", "build", "--format", "docker"]
    elif tool != "classic":
        words += ["--progress", "plain"]
    if tool == "buildx":
        # An attestation makes the image an index, which no graph driver keeps.
        words += [f"--provenance={request.provenance or 'false'}"]
        words += [f"--sbom={request.sbom}"] if request.sbom is not None else []
    for tag in request.tags:
        words += ["--tag", tag]
    words += ["--file", request.dockerfile]
    words += _option("--target", request.target)
    words += _option("--platform", request.platform)
    words += _option("--network", request.network)
    words += _pairs("--label", request.labels)
    words += _pairs("--build-arg", request.args)
    for name, path in secret_files.items():
        words += ["--secret", f"id={name},src={path}"]
    for key in request.ssh:
        words += ["--ssh", key]
    for source in request.cache_from:
        words += ["--cache-from", source]
    for target in request.cache_to:
        words += ["--cache-to", target]
    if request.no_cache:
        words.append("--no-cache")
    return (*words, request.context)


def _buildx(request: BuildRequest) -> tuple[str, ...]:
    output = ("--load",) if request.output == TO_ENGINE else ("--output", f"type={request.output}")
    named = ("--builder", request.builder.name) if request.builder else ()
    return ("buildx", "build", *named, *output)


def _refuse(request: BuildRequest, tool: Tool) -> None:
    """BuildError for what a tool cannot do, by the name of its key."""
    buildkit: Sequence[tuple[object, str]] = (
        (request.secrets, "builder.secrets"),
        (request.ssh, "builder.ssh"),
    )
    buildx: Sequence[tuple[object, str]] = (
        (request.cache_from or request.cache_to, "builder.cache"),
        (_asked(request.provenance), "builder.provenance"),
        (_asked(request.sbom), "builder.sbom"),
        (request.builder, "builder.driver"),
        (request.platform and "," in request.platform, "several architectures under builder.arch"),
        (request.output != TO_ENGINE, f"output to {request.output}"),
    )
    wanted = [key for value, key in (buildkit if tool == "classic" else ()) if value]
    for key in wanted:
        raise BuildError(
            f"{key} needs BuildKit, which this docker client reaches only through its plugin buildx",
            hint="install the package docker-buildx (or docker-buildx-plugin)",
        )
    for value, key in buildx if tool != "buildx" else ():
        if value:
            lacks = "which podman is not" if tool == "podman" else "which this docker client lacks"
            raise BuildError(
                f"{key} needs docker's plugin buildx, {lacks}",
                hint="install the package docker-buildx (or docker-buildx-plugin)",
            )
    if request.output == TO_ENGINE:
        for value, key in ((request.provenance, "builder.provenance"), (request.sbom, "builder.sbom")):
            if _asked(value):
                raise BuildError(
                    f"{key} makes an attestation, which only a registry keeps; this image travels over SSH",
                    hint=f"deploy through a registry, or take {key} out",
                )


def _asked(attestation: str | None) -> bool:
    return attestation not in (None, "false")


def _option(name: str, value: str | None) -> list[str]:
    return [name, value] if value else []


def _pairs(name: str, values: Mapping[str, str]) -> list[str]:
    words: list[str] = []
    for key, value in sorted(values.items()):
        # An argument without a value leaves the Dockerfile's default in force; `KEY=` would be an empty one.
        words += [name, key if name == "--build-arg" and not value.strip() else f"{key}={value}"]
    return words
