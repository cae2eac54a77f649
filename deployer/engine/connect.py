"""Reaching an engine: the running one first, else a private one shared by all who need it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployer.engine.engine import Engine, ask
from deployer.engine.podman import ask_podman
from deployer.engine.private import PrivateEngine
from deployer.engine.rootless import obstacle
from freehold.console import Console
from freehold.environment import user_name, which
from freehold.errors import BuildError
from freehold.paths import cache_dir, runtime_dir
from freehold.process import Runner

_HINT = (
    "start Docker, or set DOCKER_HOST, or become a member of the group `docker`; "
    "with subordinate ids and the packages uidmap and passt Freehold starts an engine of its own"
)


@contextmanager
def remote_engine(address: str, *, runner: Runner, console: Console) -> Iterator[Engine]:
    """The engine at `ssh://user@host` or `tcp://host:port`. BuildError: it does not answer."""
    try:
        # The docker client starts ssh, which may have to shake hands over a slow line.
        engine = ask(runner, host=address, timeout=60)
    except BuildError as exc:
        raise BuildError(
            f"the Docker Engine of the remote builder {address} does not answer",
            hint="can `ssh` log in there without a question, and may that user use docker?",
            details=exc.details,
        ) from exc
    console.detail(f"Docker Engine {engine.version} ({engine.arch}) at {address} builds")
    yield engine


@contextmanager
def local_engine(
    *, runner: Runner, console: Console, environ: Mapping[str, str] | None = None, podman: bool = False
) -> Iterator[Engine]:
    """An engine for the length of the block.

    `podman` asks for podman, which is also taken where docker is not installed.

    An engine that the environment names (DOCKER_HOST, a context) or that listens on the usual socket
    is used and left as it is. Where none answers, or none lets this user in, a private one is started,
    for a user who is not root in a user namespace; processes that need it at the same time share it and
    the last one ends it. BuildError says why there is none.
    """
    env = os.environ if environ is None else environ
    asked = "DOCKER_HOST" if env.get("DOCKER_HOST") else "DOCKER_CONTEXT" if env.get("DOCKER_CONTEXT") else ""
    if podman or which("docker", env) is None:
        wanted = "podman" if podman else "docker"
        if which("podman", env) is None:
            raise BuildError(
                f"the program {wanted!r} is not installed",
                hint="install podman, or take `driver: podman` out"
                if podman
                else "`make setup` installs what Freehold needs; podman would do as well",
            )
        found = ask_podman(runner)
        console.detail(f"podman {found.version} is used")
        yield found
        return
    try:
        yield_engine = ask(runner, host=env.get("DOCKER_HOST", ""))
    except BuildError as exc:
        if asked:
            raise BuildError(
                f"the Docker Engine that {asked}={env[asked]} names does not answer",
                hint=f"start it, or unset {asked}",
                details=exc.details,
            ) from exc
        why = "" if os.geteuid() == 0 else _obstacle(env)
        if why:
            raise BuildError(
                f"no Docker Engine answers on this machine, and there can be no private one: {why}",
                hint=_HINT,
                details=exc.details,
            ) from exc
        if which("dockerd", env) is None:
            raise BuildError(
                "no Docker Engine answers, and the program 'dockerd' is not installed",
                hint="`make setup` installs what Freehold needs",
                details=exc.details,
            ) from exc
    else:
        console.detail(f"Docker Engine {yield_engine.version} ({yield_engine.driver}) is running and is used")
        yield yield_engine
        return
    home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    private = PrivateEngine(
        cache_dir(env) / "engine",
        runtime_dir(env) / "engine",
        runner,
        console,
        rootless=os.geteuid() != 0,
        settings=(home / "docker" / "daemon.json", Path("/etc/docker/daemon.json")),
    )
    with private.share() as engine:
        yield engine


def _obstacle(env: Mapping[str, str]) -> str:
    subids = Path("/etc/subuid")
    text = subids.read_text() if subids.exists() else ""
    return obstacle(lambda name: which(name, env), user_name(env), text)
