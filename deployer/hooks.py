"""Running hooks: the user's own programs, at the moments that Kamal names.

A hook is an executable file of that name in the project. One that fails ends the command before
anything further is done. It is given the secrets that it names itself, and no others.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployer.config import DeployConfig
from deployer.config.hooks import HOOKS, hook_environment, shows_output
from deployer.secrets import Secrets
from freehold.console import Console
from freehold.environment import user_name
from freehold.errors import HookError, ProcessError
from freehold.process import Runner
from freehold.secret import Secret, redact
from freehold.settings import near

_ALL = re.compile(r"^\s*(?:#|//|--)\s*secrets:\s*\*\s*$", re.MULTILINE)


def secrets_named(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """The secrets that a hook asks for: names that stand in it as words; all after `# secrets: *`."""
    if _ALL.search(text):
        return tuple(names)
    return tuple(name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))


def strangers(folder: Path) -> list[str]:
    """A sentence for each file of a hooks folder that no command would ever run."""
    found = sorted(path.name for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    sentences = []
    for name in found:
        if name in HOOKS or name.startswith(".") or "." in name:
            # README.md, deploy.sample, lib.sh: what hooks use, not hooks.
            continue
        guess = near(name, HOOKS)
        if guess:
            sentences.append(f"no hook is called {name!r}, so it is never run; did you mean {guess!r}?")
    return sentences


@dataclass
class Hooks:
    """The hooks of a project for one command. `version` is found out when the first hook needs it."""

    config: DeployConfig
    root: Path
    runner: Runner
    console: Console
    environ: Mapping[str, str]
    command: str
    subcommand: str | None
    find_version: Callable[[], str]
    now: Callable[[], str]
    roles: Sequence[str] = ()
    skip: bool = False
    lab: bool = False
    """The hosts are the lab's: hooks that announce things can tell by FREEHOLD_LAB."""
    version: str = ""
    _connected: bool = field(default=False, init=False)

    def path(self, name: str) -> Path:
        """Where a hook would lie."""
        return self.root / self.config.hooks_path / name

    def there(self, name: str) -> bool:
        """Whether a hook would be run."""
        return not self.skip and self.path(name).is_file()

    def know(self, version: str) -> str:
        """Tell which version the command is about; returns it."""
        self.version = version
        return version

    def pre_connect(self) -> None:
        """Run `pre-connect`, once for a command, before the first connection."""
        if not self._connected:
            self._connected = True
            self.run("pre-connect")

    def run(
        self,
        name: str,
        *,
        hosts: Sequence[str] = (),
        locked: bool = False,
        runtime: float | None = None,
        so_far: str = "nothing was changed",
    ) -> None:
        """Run a hook where there is one, for as long as it takes: a migration may take hours.

        HookError where it fails; `so_far` says what that means.
        """
        path = self.path(name)
        if not self.there(name):
            return
        shown = f"{self.config.hooks_path}/{name}"
        if not os.access(path, os.X_OK):
            raise HookError(
                f"the hook {shown} is not executable", hint=f"chmod +x {shown}, or pass over hooks with -H"
            )
        secrets = self._secrets(path)
        self.version = self.version or self.find_version()
        told = hook_environment(
            self.config,
            version=self.version,
            performer=self._performer(),
            recorded_at=self.now(),
            command=self.command,
            subcommand=self.subcommand,
            hosts=hosts or self.config.all_hosts,
            roles=self.roles,
            locked=locked,
            runtime=runtime,
        )
        if self.lab:
            told["FREEHOLD_LAB"] = "true"
        # A hook sees the environment of the command, as with Kamal; no value of it is ever printed.
        inherited = {key: Secret(value) for key, value in self.environ.items() if key not in told}
        self.console.detail(f"$ {shown}" + "".join(f" ({name} given)" for name in secrets))
        with self.console.step(f"Hook {name}"):
            try:
                self.runner.run(
                    (path,),
                    cwd=self.root,
                    env={**inherited, **told, **secrets},
                    on_line=lambda line: self._show(name, redact(line, secrets.values())),
                )
            except ProcessError as exc:
                code = "" if exc.returncode is None else f" with exit code {exc.returncode}"
                raise HookError(
                    f"the hook {name} failed{code}; {so_far}",
                    hint=f"run {shown} by hand to see why, or pass over hooks with -H",
                    details=self._last(exc, secrets) or [exc.message],
                ) from exc
            except OSError as exc:
                if exc.errno != errno.ENOEXEC:
                    raise
                raise HookError(
                    f"the hook {shown} is no program", hint="begin it with a line such as #!/bin/sh"
                ) from exc

    def tags(self) -> dict[str, str]:
        """What a record of the command tells: service, version, performer, destination."""
        self.version = self.version or self.find_version()
        found = {
            "service": self.config.service,
            "version": self.version,
            "performer": self._performer(),
            "destination": self.config.destination or "",
        }
        return {key: value for key, value in found.items() if value}

    def _secrets(self, path: Path) -> dict[str, Secret]:
        store = self.config.secrets
        if not isinstance(store, Secrets):
            return {}
        wanted = secrets_named(path.read_text(encoding="utf-8", errors="replace"), store.names)
        return {name: store(name, wanted_by=f"{self.config.hooks_path}/{path.name}") for name in wanted}

    def _performer(self) -> str:
        done = self.runner.run(("git", "-C", self.root, "config", "user.email"), check=False, timeout=20)
        return done.stdout.strip() or user_name(self.environ)

    def _show(self, name: str, line: str) -> None:
        # -q hides all and -v shows all, whatever the file says.
        if self.console.verbose or shows_output(self.config, name):
            self.console.info(f"{name}: {line}")

    @staticmethod
    def _last(exc: ProcessError, secrets: Mapping[str, Secret]) -> list[str]:
        lines = [line for line in f"{exc.stdout}\n{exc.stderr}".splitlines() if line.strip()]
        return [redact(line, secrets.values()) for line in lines[-20:]]
