"""Secrets looked up by name, each evaluated when it is first asked for.

Files are read in order; a later assignment wins, and a value may use names that stand above it, in
its own file or in one read before. Commands run only for the names that are needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from deployer.secrets.dotenv import Command, Entry, Piece, SecretsFile, Text, Variable
from deployer.secrets.words import fill_single_quoted, is_ours, names_in, split
from freehold.errors import ConfigError, InputError, ProcessError, ProcessTimeout
from freehold.process import Runner
from freehold.secret import Secret
from freehold.settings import near

# A person may have to unlock a vault with a fingerprint or a second factor.
COMMAND_SECONDS = 300.0
PIPED = "FREEHOLD_PIPED"
"""The variable with what a command of ours prints, for the rest of a pipe."""


class SecretsCommands(Protocol):
    """Does `secrets fetch …` and `secrets extract …`; returns what they would print."""

    def __call__(self, words: Sequence[str]) -> str: ...


class Shell(Protocol):
    """Runs a shell text with variables; returns its output without the last line's end."""

    def __call__(self, script: str, variables: Mapping[str, str]) -> str: ...


@dataclass(frozen=True)
class LocalShell:
    """Runs the commands of secrets files with /bin/sh in the project's root."""

    runner: Runner
    root: Path
    environ: Mapping[str, str]

    def __call__(self, script: str, variables: Mapping[str, str]) -> str:
        """The output of `script`. A failure that its author silenced with `2>/dev/null` is empty text."""
        env = {name: Secret(value) for name, value in {**self.environ, **variables}.items()}
        done = self.runner.run(
            ["/bin/sh", "-c", script],
            cwd=self.root,
            env=env,
            timeout=COMMAND_SECONDS,
            check=False,
            foreground=True,
        )
        silenced = "2>/dev/null" in script.replace(" ", "")
        if done.returncode != 0 and not done.stdout and not silenced:
            raise ProcessError(
                f"the command exited with {done.returncode}",
                argv=("/bin/sh",),
                returncode=done.returncode,
                stderr=done.stderr,
                details=done.stderr.splitlines()[-5:],
            )
        return done.stdout.rstrip("\n")


class Secrets:
    """Looks secrets up by name. Thread-safe; nothing is evaluated before the first look."""

    def __init__(
        self,
        files: Sequence[SecretsFile],
        *,
        searched: Sequence[str],
        environ: Mapping[str, str],
        shell: Shell,
        commands: SecretsCommands,
        warnings: Sequence[str] = (),
    ) -> None:
        self.files = tuple(file.name for file in files)
        self.searched = tuple(searched)
        self.warnings = (*warnings, *(warning for file in files for warning in file.warnings))
        self._entries: list[Entry] = [entry for file in files for entry in file.entries]
        self._environ = environ
        self._shell = shell
        self._commands = commands
        self._values: dict[int, str] = {}
        self._lock = threading.RLock()
        self._unset: dict[str, None] = {}
        self._warn: Callable[[str], None] | None = None

    @property
    def evaluated(self) -> tuple[Secret, ...]:
        """The secrets that somebody has asked for so far: what must not be printed."""
        return tuple(Secret(value) for value in list(self._values.values()))

    def at_hand(self) -> tuple[Secret, ...]:
        """The secrets that can be told without running anything, and those that somebody has asked for.

        A vault would have to be unlocked only to know what must not be printed.
        """
        with self._lock:
            for index in range(len(self._entries)):
                if not self._runs(index):
                    self._value(index)
            return self.evaluated

    def listen(self, warn: Callable[[str], None]) -> None:
        """Have `warn` told of each variable that is not set, once a secret whose value uses it is used."""
        with self._lock:
            self._warn = warn
            for message in self._unset:
                warn(message)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name the files define, in order."""
        return tuple(dict.fromkeys(entry.name for entry in self._entries))

    def __contains__(self, name: object) -> bool:
        return any(entry.name == name for entry in self._entries)

    def __call__(self, name: str, *, wanted_by: str = "") -> Secret:
        """The secret `name`; `wanted_by` says in the error which key of the configuration asks for it.

        Raises ConfigError where no file defines it or its command fails.
        """
        with self._lock:
            index = self._index(name, len(self._entries))
            if index is None:
                self._missing(name, wanted_by)
            return Secret(self._value(index))

    def get(self, name: str) -> Secret | None:
        """The secret, or None where no file defines it."""
        return self(name) if name in self else None

    def all(self) -> dict[str, Secret]:
        """Every secret, evaluated."""
        return {name: self(name) for name in self.names}

    def _missing(self, name: str, wanted_by: str) -> NoReturn:
        asks = f", which {wanted_by} asks for," if wanted_by else ""
        if not self.files:
            raise ConfigError(
                f"the secret {name!r}{asks} is not defined: there is no secrets file",
                hint=f"write {name}=… into {self.searched[-1]}",
            )
        guess = near(name, self.names)
        hint = f"did you mean {guess!r}? or " if guess else ""
        raise ConfigError(
            f"the secret {name!r}{asks} is not in {' or '.join(self.files)}",
            hint=f"{hint}write {name}=… into {self.files[-1]}",
        )

    def _runs(self, index: int) -> bool:
        """Whether a command has to run, or a variable is missing, before the value is known."""

        def any_of(pieces: Sequence[Piece]) -> bool:
            return any(one(piece) for piece in pieces)

        def one(piece: Piece) -> bool:
            if isinstance(piece, Variable):
                above = self._index(piece.name, index)
                if above is None and piece.default is None:
                    return piece.name not in self._environ
                return any_of(piece.default or ()) or (above is not None and self._runs(above))
            return isinstance(piece, Command)

        return index not in self._values and any_of(self._entries[index].value)

    def _index(self, name: str, before: int) -> int | None:
        return next((at for at in range(before - 1, -1, -1) if self._entries[at].name == name), None)

    def _value(self, index: int) -> str:
        if index not in self._values:
            self._values[index] = self._join(self._entries[index].value, index)
        return self._values[index]

    def _join(self, pieces: Sequence[Piece], index: int) -> str:
        return "".join(self._piece(piece, index) for piece in pieces)

    def _piece(self, piece: Piece, index: int) -> str:
        if isinstance(piece, Text):
            return piece.text
        if isinstance(piece, Variable):
            value = self._lookup(piece.name, index)
            if piece.default is not None and (value is None or (value == "" and not piece.unset_only)):
                return self._join(piece.default, index)
            return self._or_empty(piece.name, value, index)
        return self._command(piece, index)

    def _lookup(self, name: str, index: int) -> str | None:
        above = self._index(name, index)
        return self._value(above) if above is not None else self._environ.get(name)

    def _or_empty(self, name: str, value: str | None, index: int) -> str:
        """A value, or with a warning the empty text that Kamal puts in the place of what is not set."""
        if value is None:
            entry = self._entries[index]
            message = (
                f"{entry.where.file}:{entry.where.line} the variable {name} is not set; "
                f"its place in the secret {entry.name} is empty"
            )
            if message not in self._unset and self._warn is not None:
                self._warn(message)
            self._unset[message] = None
        return value or ""

    def _command(self, piece: Command, index: int) -> str:
        entry = self._entries[index]
        try:
            if is_ours(piece.script):

                def variable(name: str) -> str:
                    return self._or_empty(name, self._lookup(name, index), index)

                command = split(piece.script, variable, entry.where)
                output = self._commands(command.words)
                return self._run(command.piped_to, index, output) if command.piped_to else output
            return self._run(piece.script, index)
        except ProcessTimeout as exc:
            raise ConfigError(
                f"the command of {entry.name} did not end in {COMMAND_SECONDS:.0f} s",
                where=entry.where,
                details=exc.details,
            ) from exc
        except ProcessError as exc:
            raise ConfigError(
                f"the command of {entry.name} failed: {exc.message}",
                where=entry.where,
                hint=exc.hint or "run the command by hand to see why",
                details=exc.details,
            ) from exc
        except InputError as exc:
            if exc.where is not None:
                raise
            raise ConfigError(
                f"the command of {entry.name} failed: {exc.message}",
                where=entry.where,
                hint=exc.hint,
                details=exc.details,
            ) from exc

    def _run(self, script: str, index: int, piped: str | None = None) -> str:
        variables: dict[str, str] = {}
        for name in sorted(names_in(script)):
            above = self._index(name, index)
            if above is not None:
                variables[name] = self._value(above)
        script = fill_single_quoted(script, variables)
        if piped is None:
            return self._shell(script, variables)
        return self._shell(f"printf '%s\\n' \"${PIPED}\" | {script}", {**variables, PIPED: piped})
