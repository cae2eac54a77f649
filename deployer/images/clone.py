"""A clean clone of the project: what is committed is built, and nothing that lies around."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from deployer.images.version import git
from freehold.console import Console
from freehold.errors import BuildError, ProcessError
from freehold.files import new_private_dir
from freehold.process import Runner

CLONE_TIMEOUT = 900.0


def clone_directory(cache: Path, top: Path) -> Path:
    """Where the clone of a repository lies; stable, so that a rebuild changes only what has changed."""
    return cache / "clones" / f"{top.name}-{hashlib.sha256(str(top).encode()).hexdigest()[:12]}"


def clean_clone(root: Path, revision: str, *, cache: Path, runner: Runner, console: Console) -> Path:
    """The project at `revision` as a directory: a clone beside the repository, made or brought up to date.

    Returns the directory in the clone that corresponds to `root`. BuildError: git fails.
    """
    top = Path(git(root, runner, "rev-parse", "--show-toplevel").stdout.strip())
    inside = root.resolve().relative_to(top.resolve())
    target = clone_directory(cache, top)
    new_private_dir(target.parent)
    try:
        if (target / ".git").exists():
            try:
                _update(top, target, revision, runner)
                return target / inside
            except ProcessError as exc:
                console.detail(f"the clone in {target} is made again: {exc}")
        shutil.rmtree(target, ignore_errors=True)
        runner.run(
            ("git", "clone", "--quiet", "--no-checkout", "--local", top, target), timeout=CLONE_TIMEOUT
        )
        _update(top, target, revision, runner)
    except ProcessError as exc:
        raise BuildError(
            f"git could not make a clean clone of {top}",
            hint="set `builder.context: .` to build the working tree instead",
            details=exc.details,
        ) from exc
    return target / inside


def _update(top: Path, target: Path, revision: str, runner: Runner) -> None:
    for words in (
        ("remote", "set-url", "origin", str(top)),
        ("fetch", "--quiet", "--no-tags", "origin", revision),
        ("reset", "--quiet", "--hard", revision),
        ("clean", "--quiet", "-ffdx"),
    ):
        runner.run(("git", "-C", target, *words), timeout=CLONE_TIMEOUT)
    if (target / ".gitmodules").exists():
        runner.run(
            ("git", "-C", target, "submodule", "update", "--quiet", "--init", "--recursive"),
            timeout=CLONE_TIMEOUT,
        )
