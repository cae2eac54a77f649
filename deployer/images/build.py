"""Building the application's image with an engine of ours, a remote one, or buildpacks."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from deployer.config import DeployConfig
from deployer.engine import Engine
from deployer.images.builder import Builder, create_argvs, listed
from deployer.images.clone import clean_clone
from deployer.images.pack import build_by_pack
from deployer.images.push import push_hint
from deployer.images.request import (
    TO_ENGINE,
    TO_REGISTRY,
    BuildRequest,
    Tool,
    build_argv,
    build_environment,
    build_tool,
)
from deployer.images.version import git, in_git
from deployer.transfer.image import LocalImage, inspect_image
from freehold.console import Console
from freehold.errors import BuildError, ProcessError
from freehold.files import write_atomic
from freehold.paths import cache_dir
from freehold.process import Runner


def source_directory(
    config: DeployConfig,
    *,
    root: Path,
    runner: Runner,
    console: Console,
    environ: Mapping[str, str] | None = None,
) -> Path:
    """Where the build runs: a clean clone of what is committed, or with `builder.context` the project."""
    if config.builder.context is None and in_git(root, runner):
        revision = git(root, runner, "rev-parse", "HEAD").stdout.strip()
        return clean_clone(root, revision, cache=cache_dir(environ), runner=runner, console=console)
    return root


def build_app(
    config: DeployConfig,
    request: BuildRequest,
    *,
    engine: Engine,
    runner: Runner,
    console: Console,
    environ: Mapping[str, str],
    client_env: Mapping[str, str] | None = None,
) -> LocalImage | None:
    """Build the service's image; None where it went elsewhere than into the engine.

    BuildError with the last lines of the build.
    """
    if config.builder.pack is not None:
        build_by_pack(
            config,
            config.builder.pack,
            request,
            engine=engine,
            runner=runner,
            environ=environ,
            on_line=console.detail,
        )
        return inspect_image(engine, request.tags[0], runner)
    if request.builder is not None:
        make_builder(request.builder, engine=engine, runner=runner, console=console)
    run_build(request, engine=engine, runner=runner, on_line=console.detail, client_env=client_env)
    return inspect_image(engine, request.tags[0], runner) if request.output == TO_ENGINE else None


def make_builder(builder: Builder, *, engine: Engine, runner: Runner, console: Console) -> bool:
    """Make the buildx builder where it is missing; whether it was."""
    if find_tool(runner, engine) != "buildx":
        return False
    name = builder.name
    found = runner.run(("docker", "buildx", "inspect", name), env=engine.env, check=False, timeout=60)
    if found.returncode == 0:
        return False
    console.detail(f"making the builder {name}, which {builder.wanted_by} needs")
    with tempfile.TemporaryDirectory(prefix="freehold-builder-") as folder:
        settings = None
        if builder.settings:
            settings = Path(folder) / "buildkitd.toml"
            write_atomic(settings, builder.settings)
        try:
            for argv in create_argvs(builder, settings):
                runner.run(argv, env=engine.env, timeout=300)
        except ProcessError as exc:
            runner.run(("docker", "buildx", "rm", name), env=engine.env, check=False, timeout=60)
            raise BuildError(
                f"the builder {name}, which {builder.wanted_by} needs, could not be made", details=exc.details
            ) from exc
    return True


def remove_builders(builder: Builder, *, engine: Engine, runner: Runner) -> tuple[str, ...]:
    """Remove a builder, and those it was before its settings changed; their names."""
    if find_tool(runner, engine) != "buildx":
        return ()
    there = listed(runner.run(("docker", "buildx", "ls"), env=engine.env, check=False, timeout=60).stdout)
    names = tuple(name for name in there if builder.owns(name))
    for name in names:
        runner.run(("docker", "buildx", "rm", name), env=engine.env, check=False, timeout=120)
    return names


def find_tool(runner: Runner, engine: Engine) -> Tool:
    """Which builder the client of this computer has."""
    if engine.program == "podman":
        return "podman"
    plugin = runner.run(("docker", "buildx", "version"), check=False, timeout=20).returncode == 0
    version = runner.run(("docker", "--version"), check=False, timeout=20).stdout
    words = version.split()
    return build_tool(plugin, words[2] if len(words) > 2 else "")


def build_image(
    request: BuildRequest, *, engine: Engine, runner: Runner, on_line: Callable[[str], None]
) -> LocalImage:
    """Build one image into the engine. BuildError with what the build printed last."""
    run_build(request, engine=engine, runner=runner, on_line=on_line)
    return inspect_image(engine, request.tags[0], runner)


def run_build(
    request: BuildRequest,
    *,
    engine: Engine,
    runner: Runner,
    on_line: Callable[[str], None],
    client_env: Mapping[str, str] | None = None,
) -> None:
    """Run one build of a Dockerfile, for as long as it takes. BuildError with what it printed last."""
    require_dockerfile(request)
    tool = find_tool(runner, engine)
    with ExitStack() as stack:
        files: dict[str, Path] = {}
        if request.secrets and tool != "classic":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="freehold-build-")))
            for number, (name, secret) in enumerate(request.secrets.items()):
                files[name] = folder / str(number)
                write_atomic(files[name], secret.reveal(), mode=0o600)
        argv = build_argv(request, tool, secret_files=files)
        try:
            runner.run(
                argv,
                cwd=request.directory,
                env={**engine.env, **(client_env or {}), **build_environment(tool)},
                on_line=on_line,
            )
        except ProcessError as exc:
            lines = (exc.stdout + os.linesep + exc.stderr).splitlines()
            raise BuildError(
                f"building {request.tags[0]} failed",
                details=[line for line in lines if line.strip() and "DEPRECATED" not in line][-20:],
                hint=_hint(request, exc)
                or f"the same by hand: cd {shlex.quote(str(request.directory))} && {shlex.join(argv)}",
            ) from exc


def require_dockerfile(request: BuildRequest) -> None:
    """BuildError: the Dockerfile is not there."""
    if not (request.directory / request.dockerfile).is_file():
        raise BuildError(
            f"there is no {request.dockerfile} in {request.directory}",
            hint="commit it, or set `builder.dockerfile`",
        )


def _hint(request: BuildRequest, exc: ProcessError) -> str:
    """What to do where it was not the Dockerfile that failed."""
    said = exc.stdout + exc.stderr
    if request.builder is not None and "> [internal] booting buildkit" in said:
        own = request.builder.wanted_by in ("builder.cache", "builder.provenance", "builder.sbom")
        return (
            f"{request.builder.wanted_by} needs BuildKit in a container of its own, which does not start: "
            "its image moby/buildkit comes from Docker Hub or a mirror, and it runs privileged"
        ) + ("; an engine that keeps images in containerd does without it" if own else "")
    if request.builder is None and request.platform and "exec format error" in said:
        return (
            f"the engine runs no programs for {request.platform}: install qemu-user-static there, name a "
            "builder with such a processor (builder.remote), or write `builder.driver: docker-container`"
        )
    pushing = request.output == TO_REGISTRY and "failed to push" in said
    return push_hint(exc) if pushing or "exporting cache to registry:" in said else ""
