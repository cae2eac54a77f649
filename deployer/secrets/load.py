"""Which secrets files are read, and reading them.

`.freehold/secrets-common`, then `.freehold/secrets` or with a destination
`.freehold/secrets.<destination>`; where none of these exists the same names under `.kamal/`.
With a destination the plain file is not read, as with Kamal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deployer.secrets.dotenv import SecretsFile, parse
from deployer.secrets.store import LocalShell, Secrets
from deployer.secrets.vault import LocalVault, run_secrets_command
from freehold.process import Runner
from freehold.yamlfile import read_text

NATIVE = ".freehold/secrets"
KAMAL = ".kamal/secrets"


def secrets_filenames(path: str, destination: str | None) -> tuple[str, ...]:
    """The files of a secrets path, common first: later ones win."""
    return (f"{path}-common", f"{path}.{destination}" if destination else path)


def load_secrets(
    root: Path,
    destination: str | None,
    environ: Mapping[str, str],
    runner: Runner,
    *,
    path: str | None = None,
) -> Secrets:
    """Read the secrets files of a project; `path` is `secrets_path` of the configuration.

    Nothing is evaluated yet. Raises ConfigError for a file that cannot be read or parsed.
    """
    names = _existing(root, destination, path)
    files: list[SecretsFile] = [parse(read_text(root / name, name), name) for name in names[0]]
    environ = {**environ, "KAMAL_DESTINATION": destination} if destination else dict(environ)
    shell = LocalShell(runner, root, environ)
    vault = LocalVault(runner, root, environ)
    return Secrets(
        files,
        searched=names[1],
        environ=environ,
        shell=shell,
        commands=lambda words: run_secrets_command(words, vault),
    )


def _existing(root: Path, destination: str | None, path: str | None) -> tuple[list[str], tuple[str, ...]]:
    """The files that exist, and the names that were looked for."""
    searched: tuple[str, ...] = ()
    for base in (path,) if path else (NATIVE, KAMAL):
        names = secrets_filenames(base, destination)
        searched = searched or names
        found = [name for name in names if (root / name).is_file()]
        if found:
            return found, names
    return [], searched
