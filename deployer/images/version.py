"""The version of the code: its commit, and whether the working tree says something else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import InputError
from freehold.process import Completed, Runner

GIT_TIMEOUT = 60.0


@dataclass(frozen=True)
class CodeVersion:
    """`version` names images and containers; `revision` is the commit; `uncommitted` are changed paths.

    `cloned`: the commit is built and the uncommitted changes are left out.
    """

    version: str
    revision: str
    uncommitted: tuple[str, ...] = ()
    cloned: bool = True

    @property
    def warning(self) -> str:
        """What to tell about uncommitted changes; empty where there are none."""
        if not self.uncommitted:
            return ""
        shown = ", ".join(self.uncommitted[:5]) + (" …" if len(self.uncommitted) > 5 else "")
        if self.cloned:
            return f"uncommitted changes are not deployed: {shown}"
        return f"uncommitted changes are deployed as {self.version}: {shown}"


def make_version(revision: str, status: str, difference: bytes, *, cloned: bool) -> CodeVersion:
    """The version out of what git printed: `rev-parse HEAD`, `status --porcelain`, and the changes' content.

    A working tree that differs gets a suffix over its content, so that the same tree is the same
    version each time it is deployed.
    """
    paths = tuple(line[3:] for line in status.splitlines() if line.strip())
    if cloned or not paths:
        return CodeVersion(revision, revision, paths, cloned)
    suffix = hashlib.sha256(status.encode() + b"\0" + difference).hexdigest()[:16]
    return CodeVersion(f"{revision}_uncommitted_{suffix}", revision, paths, cloned)


def git(root: Path, runner: Runner, *words: str, check: bool = True) -> Completed:
    """Run git in a directory."""
    return runner.run(("git", "-C", root, *words), check=check, timeout=GIT_TIMEOUT)


def in_git(root: Path, runner: Runner) -> bool:
    """Whether the project is in a git repository that has a commit."""
    done = git(root, runner, "rev-parse", "--verify", "HEAD^{commit}", check=False)
    if "dubious ownership" in done.stderr:
        raise InputError(
            f"git does not trust {root}, as another user owns it",
            hint="run as that user, or: git config --global --add safe.directory " + str(root),
        )
    return done.returncode == 0


def code_version(root: Path, *, runner: Runner, clone: bool = True) -> CodeVersion:
    """The version of the project at `root`; `clone` tells that a clean clone is built.

    InputError: not in git, or without a commit; then a version has to be given.
    """
    if not in_git(root, runner):
        raise InputError(
            f"{root} is not a git repository with a commit, so this code has no version",
            hint="commit it, or give one with --version",
        )
    revision = git(root, runner, "rev-parse", "HEAD").stdout.strip()
    status = git(root, runner, "status", "--porcelain", "--untracked-files=all").stdout
    difference = b""
    if status.strip() and not clone:
        difference = git(root, runner, "diff", "HEAD", "--binary").stdout.encode()
        listed = git(root, runner, "ls-files", "--others", "--exclude-standard", "-z").stdout
        top = Path(git(root, runner, "rev-parse", "--show-toplevel").stdout.strip())
        for name in sorted(filter(None, listed.split("\0"))):
            path = root / name if (root / name).is_file() else top / name
            if path.is_file():
                difference += hashlib.sha256(path.read_bytes()).digest()
    return make_version(revision, status, difference, cloned=clone)
