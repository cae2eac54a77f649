"""What a template may see of the world: environment variables, files of the project, commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import ConfigError, ProcessError
from freehold.process import Runner
from freehold.secret import Secret

# `aws ecr get-login-password` and its like; a person may be asked for a second factor.
COMMAND_SECONDS = 120.0


@dataclass(frozen=True)
class Ran:
    """A command's output and exit code."""

    stdout: str
    returncode: int
    stderr: str = ""


@dataclass(frozen=True)
class World:
    """The root of the project, the environment, and a door to the shell.

    What a template sets in `environ` stays for all that are rendered after it in this world, as Ruby's
    ENV is one for Kamal's files: `Dotenv.load` in deploy.yml serves the secrets file.
    """

    root: Path
    environ: MutableMapping[str, str]
    run: Callable[[str, Mapping[str, str]], Ran]

    def path(self, name: str) -> Path:
        """A path as the template writes it, relative to the project."""
        return self.root / Path(name).expanduser()

    def read(self, name: str) -> str:
        """The text of a file; OSError where it cannot be read."""
        return self.path(name).read_text(encoding="utf-8")


def local_world(root: Path, environ: Mapping[str, str], runner: Runner) -> World:
    """The world of this machine with a copy of `environ`; commands run in `root` through `runner`."""

    def run(script: str, env: Mapping[str, str]) -> Ran:
        try:
            done = runner.run(
                ["/bin/sh", "-c", script],
                cwd=root,
                # Wrapped so that `-v` shows the names only.
                env={name: Secret(value) for name, value in env.items()},
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except ProcessError as exc:
            raise ConfigError(f"the command {script!r} failed: {exc.message}", hint=exc.hint) from exc
        return Ran(done.stdout, done.returncode, done.stderr)

    return World(root, dict(environ), run)
