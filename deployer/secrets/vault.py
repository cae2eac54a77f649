"""`secrets fetch` and `secrets extract`: values out of a password manager's own command line tool."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from freehold.errors import ProcessError, ProgramMissing, UsageError
from freehold.process import Completed, Runner
from freehold.secret import Secret
from freehold.settings import near

# The time that a person may take to unlock a vault.
PROGRAM_SECONDS = 300.0

# Kamal's names, and ours for what Kamal lacks.
ADAPTERS = {
    "1password": "one_password",
    "one_password": "one_password",
    "bitwarden": "bitwarden",
    "bitwarden-sm": "bitwarden_secrets_manager",
    "bitwarden_secrets_manager": "bitwarden_secrets_manager",
    "lastpass": "last_pass",
    "last_pass": "last_pass",
    "aws_secrets_manager": "aws_secrets_manager",
    "gcp": "gcp_secret_manager",
    "gcp_secret_manager": "gcp_secret_manager",
    "doppler": "doppler",
    "enpass": "enpass",
    "passbolt": "passbolt",
    "pass": "password_store",
    "sops": "sops",
    "age": "age",
}


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched: names, and where from, in the words of the adapter."""

    secrets: tuple[str, ...]
    account: str | None = None
    source: str | None = None

    @property
    def prefixed(self) -> tuple[str, ...]:
        """The names with `--from` in front: `vault/item/field`."""
        return tuple(f"{self.source}/{name}" if self.source else name for name in self.secrets)


class Vault(Protocol):
    """Runs a password manager's program."""

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def root(self) -> Path: ...

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        interactive: bool = False,
    ) -> Completed: ...


class Adapter(Protocol):
    """A password manager: a module with these two names."""

    NEEDS_ACCOUNT: bool

    def fetch(self, wanted: Wanted, vault: Vault) -> dict[str, str]: ...


@dataclass(frozen=True)
class LocalVault:
    """Runs the programs on this machine, in the project's root, with the caller's environment."""

    runner: Runner
    root: Path
    environ: Mapping[str, str]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        interactive: bool = False,
    ) -> Completed:
        """Run a program; `interactive` gives it the terminal to ask for a password, where there is one."""
        words = [str(word) for word in argv]
        if interactive and _has_terminal():
            words = ["/bin/sh", "-c", 'exec "$0" "$@" </dev/tty 2>/dev/tty', *words]
        try:
            return self.runner.run(
                words,
                cwd=self.root,
                # Values of the environment are wrapped so that `-v` shows names only.
                env={name: Secret(value) for name, value in {**self.environ, **(env or {})}.items()},
                timeout=PROGRAM_SECONDS,
                check=check,
                foreground=True,
            )
        except ProgramMissing as exc:
            raise UsageError(
                f"the program {argv[0]!s} is not installed",
                hint="install the password manager's command line tool",
            ) from exc


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def lookup(name: str) -> Adapter:
    """The adapter called `name`; UsageError with the near miss where there is none."""
    module = ADAPTERS.get(name.lower())
    if module is None:
        guess = near(name.lower(), ADAPTERS)
        hint = f"did you mean {guess!r}?" if guess else f"there are: {', '.join(ADAPTERS)}"
        raise UsageError(f"unknown secrets adapter {name!r}", hint=hint)
    return cast(Adapter, import_module(f"deployer.secrets.adapters.{module}"))


def fetch(adapter: str, wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Fetch secrets by full name (`vault/item/field`); UsageError where the request is not complete."""
    found = lookup(adapter)
    if found.NEEDS_ACCOUNT and not wanted.account:
        raise UsageError(f"the adapter {adapter} needs --account", hint="name the account to sign in with")
    try:
        return found.fetch(wanted, vault)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as exc:
        raise ProcessError(
            f"the adapter {adapter} did not understand what the program printed",
            hint="its version may be too old or too new; run it by hand",
        ) from exc


def extract(name: str, values: str) -> str:
    """One value out of what `fetch` printed, by its name or the end of it (`/NAME`)."""
    try:
        parsed = json.loads(values)
    except ValueError as exc:
        raise UsageError(
            "`secrets extract` was not given what `secrets fetch` prints",
            hint="write SECRETS=$(freehold secrets fetch …) above and $SECRETS here",
        ) from exc
    if not isinstance(parsed, dict):
        raise UsageError("`secrets extract` needs the JSON object that `secrets fetch` prints")
    found = parsed.get(name)
    if found is None:
        found = next((value for key, value in parsed.items() if key.endswith(f"/{name}")), None)
    if found is None:
        guess = near(name, [key.rpartition("/")[2] for key in parsed])
        hint = f"did you mean {guess!r}?" if guess else f"fetched were: {', '.join(parsed) or 'none'}"
        raise UsageError(f"the secret {name!r} was not fetched", hint=hint)
    return found if isinstance(found, str) else json.dumps(found)


def run_secrets_command(words: Sequence[str], vault: Vault) -> str:
    """What `secrets WORDS` prints: the command as it stands inside `$(...)` of a secrets file."""
    if words and words[0] == "fetch":
        adapter, wanted = parse_fetch(words[1:])
        return json.dumps(fetch(adapter, wanted, vault))
    if words and words[0] == "extract":
        if len(words) != 3:
            raise UsageError(
                "`secrets extract` takes a name and the fetched values",
                hint="write $(freehold secrets extract NAME $SECRETS)",
            )
        return extract(words[1], words[2])
    raise UsageError(
        f"`secrets {words[0] if words else ''}` cannot be used inside a secrets file",
        hint="`secrets fetch` and `secrets extract` can",
    )


def parse_fetch(words: Sequence[str]) -> tuple[str, Wanted]:
    """The adapter and the request of `secrets fetch` with Kamal's options."""
    options: dict[str, str] = {}
    names: list[str] = []
    known = {"--adapter": "adapter", "-a": "adapter", "--account": "account", "--from": "from"}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag in known:
            if not equals:
                if not rest:
                    raise UsageError(f"`secrets fetch` {flag} needs a value")
                value = rest.pop(0)
            options[known[flag]] = value
        elif word in ("--inline", "--no-inline"):
            continue
        elif word.startswith("-") and len(word) > 1:
            guess = near(flag, known)
            raise UsageError(
                f"`secrets fetch` has no option {flag}", hint=f"did you mean {guess}?" if guess else ""
            )
        else:
            names.append(word)
    if "adapter" not in options:
        raise UsageError("`secrets fetch` needs --adapter", hint=f"one of {', '.join(ADAPTERS)}")
    return options["adapter"], Wanted(
        tuple(names), options.get("account") or None, options.get("from") or None
    )
