"""`freehold secrets`: fetch from password managers, take single values out, show what a deploy would use."""

from __future__ import annotations

import json
from pathlib import Path

import click

from deployer.cli.options import hostless
from deployer.secrets.load import load_secrets
from deployer.secrets.vault import ADAPTERS, LocalVault, Wanted, extract
from deployer.secrets.vault import fetch as fetch_from
from freehold.command import Context, Group, common_options, pass_context
from freehold.errors import UsageError


@click.group(cls=Group)
def secrets() -> None:
    """Fetch secrets from password managers."""


@secrets.command()
@hostless
@click.option(
    "-a", "--adapter", required=True, metavar="NAME", help=f"Password manager: {', '.join(sorted(ADAPTERS))}."
)
@click.option("--account", help="Account to sign in with.")
@click.option("--from", "source", help="Vault, folder, project or file, in the words of the adapter.")
@click.argument("names", nargs=-1)
@common_options
@pass_context
def fetch(
    context: Context, adapter: str, account: str | None, source: str | None, names: tuple[str, ...]
) -> None:
    """Fetch secrets and print them as one JSON object."""
    vault = LocalVault(context.runner, context.root, context.environ)
    found = fetch_from(adapter, Wanted(names, account, source), vault)
    context.console.print(json.dumps(found))


@secrets.command("extract")
@hostless
@click.argument("name")
@click.argument("values")
@common_options
@pass_context
def extract_one(context: Context, name: str, values: str) -> None:
    """Print the value NAME out of what `fetch` printed."""
    context.console.print(extract(name, values))


@secrets.command("extract_all")
@hostless
@click.argument("values")
@common_options
@pass_context
def extract_all(context: Context, values: str) -> None:
    """Print what `fetch` printed as lines of a secrets file."""
    try:
        found = json.loads(values)
    except ValueError as exc:
        raise UsageError("this is not what `secrets fetch` prints") from exc
    if not isinstance(found, dict):
        raise UsageError("this is not what `secrets fetch` prints")
    for name in found:
        plain = name.rpartition("/")[2]
        context.console.print(f"{plain}={_quoted(extract(name, values))}")


@secrets.command("print")
@hostless
@click.option("-d", "--destination", help="Destination whose secrets are read.")
@click.option(
    "-c", "--config-file", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file."
)
@click.option("--path", type=click.Path(path_type=Path), help="Path of the secrets files.")
@common_options
@pass_context
def show(context: Context, destination: str | None, config_file: Path | None, path: Path | None) -> None:
    """Print all secrets in clear, to find out what a deploy would use."""
    from deployer.config.load import project_secrets

    if path is not None:
        found = load_secrets(context.root, destination, context.environ, context.runner, path=str(path))
    else:
        found = project_secrets(
            context.root,
            config_file=config_file,
            destination=destination,
            environ=context.environ,
            runner=context.runner,
        )
    found.listen(context.console.warn)
    for warning in found.warnings:
        context.console.warn(warning)
    if context.console.json:
        context.console.data({name: secret.reveal() for name, secret in found.all().items()})
        return
    for name, secret in found.all().items():
        context.console.print(f"{name}={secret.reveal()}")


def _quoted(value: str) -> str:
    """A value as a secrets file reads it back."""
    if "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
