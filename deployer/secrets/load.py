"""Which secrets files are read, and reading them.

`.freehold/secrets-common`, then `.freehold/secrets` or with a destination
`.freehold/secrets.<destination>`; where none of these exists the same names under `.kamal/`.
With a destination the plain file is not read, as with Kamal. Files of the two places are never mixed.
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
    found, searched, warnings = _existing(root, destination, path)
    files: list[SecretsFile] = [parse(read_text(root / name, name), name) for name in found]
    environ = {**environ, "KAMAL_DESTINATION": destination} if destination else dict(environ)
    shell = LocalShell(runner, root, environ)
    vault = LocalVault(runner, root, environ)
    return Secrets(
        files,
        searched=searched,
        warnings=warnings,
        environ=environ,
        shell=shell,
        commands=lambda words: run_secrets_command(words, vault),
    )


def _existing(
    root: Path, destination: str | None, path: str | None
) -> tuple[list[str], tuple[str, ...], list[str]]:
    """The files that exist, the names that were looked for, and warnings of files that are passed over."""
    places = {base: secrets_filenames(base, destination) for base in ((path,) if path else (NATIVE, KAMAL))}
    there = {base: [name for name in names if (root / name).is_file()] for base, names in places.items()}
    first = next((base for base in places if there[base]), next(iter(places)))
    passed_over = [name for base in places if base != first for name in there[base]]
    warnings = []
    if passed_over:
        are = "is" if len(passed_over) == 1 else "are"
        warnings.append(
            f"{' and '.join(passed_over)} {are} not read, as there is {' and '.join(there[first])}; "
            "keep all secrets in one place"
        )
    return there[first], places[first], warnings
