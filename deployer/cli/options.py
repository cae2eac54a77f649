"""Options that many commands share, with Kamal's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """Which file, destination, hosts and roles a command is about; `lab` means the lab's machines.

    `skip_hooks`: none of the project's hooks is run.
    """

    config_file: Path | None = None
    destination: str | None = None
    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    primary: bool = False
    version: str | None = None
    lab: bool = False
    skip_hooks: bool = False


def _words(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if value else ()


def target_options(function: F) -> F:
    """Add `-c -d -r -h -p -H --version --lab`; the command gets them as one `target`."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        names = ("config_file", "destination", "roles", "hosts", "primary", "version", "lab", "skip_hooks")
        target = Target(**{name: kwargs.pop(f"target_{name}") for name in names})
        return function(*args, target=target, **kwargs)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    if hasattr(function, "__click_params__"):
        wrapped.__click_params__ = function.__click_params__  # type: ignore[attr-defined]
    options = (
        click.option("-H", "--skip-hooks", "target_skip_hooks", is_flag=True, help="Run no hooks."),
        click.option(
            "--lab", "target_lab", is_flag=True, help="Work on the lab's machines instead of production."
        ),
        click.option("--version", "target_version", help="Run against this version of the application."),
        click.option("-p", "--primary", "target_primary", is_flag=True, help="Only the primary host."),
        click.option(
            "-h",
            "--hosts",
            "target_hosts",
            callback=_words,
            help="Only these hosts, with commas (* matches).",
        ),
        click.option(
            "-r",
            "--roles",
            "target_roles",
            callback=_words,
            help="Only these roles, with commas (* matches).",
        ),
        click.option("-d", "--destination", "target_destination", help="Destination: staging, production, …"),
        click.option(
            "-c",
            "--config-file",
            "target_config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Configuration file (default: config/deploy.yml).",
        ),
    )
    decorated: Any = wrapped
    for option in options:
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


skip_push = click.option("-P", "--skip-push", is_flag=True, help="Do not build; use the image that is there.")
no_cache = click.option("--no-cache", is_flag=True, help="Build every layer anew.")
registry = click.option(
    "--registry/--no-registry",
    "registry",
    default=None,
    help="Bring the image by the registry, or over SSH (default: the registry where the file has one).",
)
lock_wait = click.option(
    "--lock-wait", type=click.IntRange(0), default=0, metavar="SECONDS", help="Wait for the lock."
)
dry_run = click.option("--dry-run", is_flag=True, help="Show per host what would run; change nothing.")
