"""Pushing an image of an engine to a registry, with a login that lasts for the push only."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployer.commands.registry import Access, client_file, podman_file
from deployer.engine import Engine
from freehold.environment import which
from freehold.errors import BuildError, ProcessError
from freehold.files import write_atomic
from freehold.process import Runner

HINTS = (
    ("unauthorized", "are `registry.username` and `registry.password` right, and may they push there?"),
    ("no basic auth", "give `registry.username` and `registry.password`"),
    ("denied", "may this user push there? does the repository exist?"),
    ("HTTP response to HTTPS", "a registry without TLS stands under insecure-registries in daemon.json"),
    ("certificate", "the engine has to know the registry's authority: /etc/docker/certs.d/<server>/ca.crt"),
    ("connection refused", "does the registry run, and is `registry.server` right?"),
    ("no such host", "is `registry.server` right?"),
)


def client_directory(environ: Mapping[str, str]) -> Path:
    """Where the docker client keeps its files."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")


def podman_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where podman looks for logins besides the docker client's file, the one that counts most last."""
    if environ.get("REGISTRY_AUTH_FILE"):
        return (Path(environ["REGISTRY_AUTH_FILE"]),)
    settings = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config"
    runtime = environ.get("XDG_RUNTIME_DIR")
    own = f"{runtime}/containers" if runtime else f"/run/containers/{os.getuid()}"
    return Path(settings) / "containers" / "auth.json", Path(own) / "auth.json"


@contextmanager
def logged_in(login: Access | None, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a docker client (or podman) that is logged in, for the length of the block.

    The client's own directory is as before: contexts, plugins and builders are reached by links.
    """
    if login is None:
        yield {}
        return
    own = client_directory(environ)
    with tempfile.TemporaryDirectory(prefix="freehold-docker-") as name:
        folder = Path(name)
        if own.is_dir():
            for entry in own.iterdir():
                if entry.name != "config.json":
                    (folder / entry.name).symlink_to(entry.absolute())
        texts = [_text(file) for file in (own / "config.json", *podman_files(environ))]
        client = client_file(texts[0], login, lambda name: which(name, environ) is not None)
        write_atomic(folder / "config.json", client, mode=0o600)
        write_atomic(folder / "auth.json", podman_file(texts, login), mode=0o600)
        yield {
            "DOCKER_CONFIG": str(folder),
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            # What buildx makes is to stay, and before its first builder there is nothing to link to.
            "BUILDX_CONFIG": environ.get("BUILDX_CONFIG") or str(own / "buildx"),
        }


def _text(file: Path) -> str:
    text = file.read_text() if file.is_file() else ""
    try:
        json.loads(text.strip() or "{}")
    except ValueError as exc:
        raise BuildError(
            f"{file} is no JSON: {exc}", hint="correct it; its own program cannot read it either"
        ) from exc
    return text


def push_image(
    references: tuple[str, ...],
    *,
    engine: Engine,
    runner: Runner,
    env: Mapping[str, str],
    on_line: Callable[[str], None],
) -> None:
    """Push an image under its first name, then under the others. BuildError with what docker said."""
    for argv in push_argvs(references, engine):
        try:
            runner.run(argv, env={**engine.env, **env}, on_line=on_line)
        except ProcessError as exc:
            raise push_error(argv[-1], exc) from exc


def push_argvs(references: Sequence[str], engine: Engine) -> tuple[tuple[str, ...], ...]:
    """The commands that push an image under all its names; the engine has it under the first. Pure."""
    first, *others = references
    found: list[tuple[str, ...]] = [(engine.program, "push", first)]
    for reference in others:
        found += [(engine.program, "tag", first, reference), (engine.program, "push", reference)]
    return tuple(found)


def push_error(reference: str, exc: ProcessError) -> BuildError:
    """Why a push failed, with what to do about it."""
    return BuildError(f"pushing {reference} failed", details=exc.details, hint=push_hint(exc))


def push_hint(exc: ProcessError) -> str:
    """What to do about words that docker and registries say."""
    text = "\n".join((exc.stderr, exc.stdout, *exc.details)).lower()
    return next((hint for word, hint in HINTS if word.lower() in text), "")
