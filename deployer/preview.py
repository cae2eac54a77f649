"""What the delivery of an image would run on this computer: the very commands, of which none is run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deployer.commands.facts import HostFacts
from deployer.engine import Engine
from deployer.images.build import find_tool, require_dockerfile
from deployer.images.builder import create_argvs
from deployer.images.pack import pack_argv
from deployer.images.push import push_argvs
from deployer.images.request import TO_ENGINE, BuildRequest, build_argv, build_environment
from deployer.images.wanted import latest_name
from deployer.shipping import Shipping
from freehold.errors import BuildError


@dataclass(frozen=True)
class Preview:
    """Command lines in their order. `problem`: why the image could not be built here."""

    build: tuple[str, ...] = ()
    push: tuple[str, ...] = ()
    problem: str = ""


def preview(shipping: Shipping, facts: Mapping[str, HostFacts]) -> Preview:
    """The builds and pushes of a deploy. An engine is asked what it is; where none runs, one is started.

    ConfigError: `builder` contradicts itself.
    """
    build: list[str] = []
    push: list[str] = []
    try:
        with ExitStack() as stack:
            # What is committed is cloned for a build only: the commands run in a folder like this one.
            for request, _, engine in shipping.requests(stack, shipping.root, facts):
                build += _build(shipping, request, engine)
                if shipping.registry and request.output == TO_ENGINE:
                    names = (shipping.image, latest_name(shipping.config))
                    push += [_line(argv, engine.env) for argv in push_argvs(names, engine)]
    except BuildError as exc:
        return Preview(tuple(build), tuple(push), exc.message)
    return Preview(tuple(build), tuple(push))


def _build(shipping: Shipping, request: BuildRequest, engine: Engine) -> list[str]:
    pack = shipping.config.builder.pack
    if pack is not None:
        return [_line(pack_argv(shipping.config, pack, request, engine.arch), engine.env)]
    require_dockerfile(request)
    tool = find_tool(shipping.runner, engine)
    made = request.builder if tool == "buildx" else None
    lines = [_line(argv, engine.env) for argv in _creating(shipping, made.name, request)] if made else []
    files = {name: Path(f"[secret {name}]") for name in request.secrets} if tool != "classic" else {}
    argv = build_argv(request, tool, secret_files=files)
    return [*lines, _line(argv, {**engine.env, **build_environment(tool)})]


def _creating(shipping: Shipping, name: str, request: BuildRequest) -> tuple[tuple[str, ...], ...]:
    """The commands that make a builder which is not there yet."""
    look = ("docker", "buildx", "inspect", name)
    if request.builder is None or shipping.runner.run(look, check=False, timeout=60).returncode == 0:
        return ()
    return create_argvs(request.builder, Path("buildkitd.toml") if request.builder.settings else None)


def _line(argv: tuple[str, ...], env: Mapping[str, str]) -> str:
    """As a person would type it."""
    return " ".join(
        [*(f"{name}={shlex.quote(value)}" for name, value in env.items() if value), shlex.join(argv)]
    )
