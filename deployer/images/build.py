"""Building the application's image with the local engine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from deployer.config import DeployConfig
from deployer.engine import Engine
from deployer.images.clone import clean_clone
from deployer.images.request import BuildRequest, Tool, build_argv, build_environment, build_tool
from deployer.images.version import git, in_git
from deployer.transfer.image import LocalImage, inspect_image
from freehold.console import Console
from freehold.errors import BuildError, ConfigError, ProcessError
from freehold.files import write_atomic
from freehold.paths import cache_dir
from freehold.process import Runner
from freehold.source import Location

BUILD_TIMEOUT = 3600.0


def build_app(
    config: DeployConfig,
    version: str,
    *,
    root: Path,
    engine: Engine,
    runner: Runner,
    console: Console,
    environ: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> LocalImage:
    """Build the service's image at a version, named as `config.image_name(version)`.

    What is committed is built, from a clean clone; with `builder.context` the directory as it is.
    BuildError with the last lines of the build; ConfigError where `builder` cannot be honoured.
    """
    directory = root
    if config.builder.context is None and in_git(root, runner):
        revision = git(root, runner, "rev-parse", "HEAD").stdout.strip()
        directory = clean_clone(root, revision, cache=cache_dir(environ), runner=runner, console=console)
    return build_image(
        make_request(config, version, directory, engine),
        engine=engine,
        runner=runner,
        on_line=on_line or console.detail,
    )


def make_request(config: DeployConfig, version: str, directory: Path, engine: Engine) -> BuildRequest:
    """The build that a configuration asks for. ConfigError: several architectures, or a context elsewhere."""
    builder = config.builder
    names = (builder.arch,) if isinstance(builder.arch, str) else builder.arch or ()
    if len(names) > 1:
        raise ConfigError(
            "several architectures are not supported yet: one image is built for one",
            where=Location(config.file, key="builder.arch"),
            hint=f"write `arch: {engine.arch}`, the architecture of your hosts",
        )
    context = builder.context or "."
    if "://" not in context and not (directory / context).is_dir():
        raise ConfigError(
            f"there is no directory {context}",
            where=Location(config.file, key="builder.context"),
            hint="the path is relative to the project",
        )
    return BuildRequest(
        directory=directory,
        tags=(config.image_name(version),),
        context=context,
        dockerfile=builder.dockerfile,
        target=builder.target,
        platform=f"linux/{names[0]}" if names and names[0] != engine.arch else None,
        args=builder.args,
        labels={"service": config.service},
        # The private engine has no bridge: steps of a build see the network of this computer.
        network="host" if engine.private else None,
    )


def find_tool(runner: Runner) -> Tool:
    """Which builder the docker client of this computer has."""
    plugin = runner.run(("docker", "buildx", "version"), check=False, timeout=20).returncode == 0
    version = runner.run(("docker", "--version"), check=False, timeout=20).stdout
    words = version.split()
    return build_tool(plugin, words[2] if len(words) > 2 else "")


def build_image(
    request: BuildRequest, *, engine: Engine, runner: Runner, on_line: Callable[[str], None]
) -> LocalImage:
    """Build one image. BuildError with what the build printed last."""
    dockerfile = request.directory / request.dockerfile
    if not dockerfile.is_file():
        raise BuildError(
            f"there is no {request.dockerfile} in {request.directory}",
            hint="commit it, or set `builder.dockerfile`",
        )
    tool = find_tool(runner)
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
                env={**engine.env, **build_environment(tool)},
                timeout=BUILD_TIMEOUT,
                on_line=on_line,
            )
        except ProcessError as exc:
            lines = (exc.stdout + os.linesep + exc.stderr).splitlines()
            raise BuildError(
                f"building {request.tags[0]} failed",
                details=[line for line in lines if line.strip() and "DEPRECATED" not in line][-20:],
                hint=f"the same by hand: cd {request.directory} && {' '.join(argv)}",
            ) from exc
    return inspect_image(engine, request.tags[0], runner)
