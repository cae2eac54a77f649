"""Builds without a Dockerfile: Cloud Native Buildpacks by the program `pack`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from deployer.config import DeployConfig
from deployer.config.delivery import Pack
from deployer.engine import Engine
from deployer.images.request import BuildRequest
from freehold.environment import which
from freehold.errors import BuildError, ProcessError
from freehold.process import Runner
from freehold.secret import Secret

LABELS = "paketo-buildpacks/image-labels"
"""The buildpack that gives the image its label; Docker's own builder does it by itself."""


def pack_argv(config: DeployConfig, pack: Pack, request: BuildRequest, arch: str) -> tuple[str, ...]:
    """The command. Secrets are named only; `pack` takes their values from its environment. Pure."""
    words = ["pack", "build", request.tags[0], "--platform", request.platform or f"linux/{arch}"]
    words += ["--creation-time", "now", "--builder", pack.builder]
    for buildpack in (*pack.buildpacks, LABELS):
        words += ["--buildpack", buildpack]
    for tag in request.tags[1:]:
        words += ["--tag", tag]
    if request.no_cache:
        words.append("--clear-cache")
    words += ["--env", f"BP_IMAGE_LABELS=service={config.service}"]
    for name, value in sorted(request.args.items()):
        words += ["--env", f"{name}={value}"]
    for name in request.secrets:
        words += ["--env", name]
    return (*words, "--path", request.context)


def build_by_pack(
    config: DeployConfig,
    pack: Pack,
    request: BuildRequest,
    *,
    engine: Engine,
    runner: Runner,
    environ: Mapping[str, str],
    on_line: Callable[[str], None],
) -> None:
    """Build into the engine. BuildError: `pack` is not installed, or what it printed last."""
    if which("pack", environ) is None:
        raise BuildError(
            "builder.pack needs the program 'pack', which is not installed",
            hint="install it from buildpacks.io, or write a Dockerfile and take builder.pack out",
        )
    secrets: dict[str, str | Secret] = {**engine.env, **request.secrets}
    try:
        runner.run(
            pack_argv(config, pack, request, engine.arch),
            cwd=request.directory,
            env=secrets,
            on_line=on_line,
        )
    except ProcessError as exc:
        raise BuildError(f"building {request.tags[0]} by buildpacks failed", details=exc.details) from exc
