"""Commands of the project's own: `aliases` of config/deploy.yml, expanded where no command has the name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from freehold.command import Context, LazyGroup
from freehold.errors import ConfigError
from freehold.shellwords import split_words
from freehold.source import Location

DEPTH = 10
"""Aliases that lead to aliases, at most."""


class AliasGroup(LazyGroup):
    """The root of the command line: its own commands first, then the project's aliases."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As LazyGroup does, after an alias has been replaced by what it stands for."""
        if args and self.get_command(ctx, args[0]) is None:
            context = ctx.ensure_object(Context)
            file, destination = options(args[1:])
            found = read(context, file, destination)
            args = expand(args, found.aliases, self.list_commands(ctx), str(found.file)) if found else args
        return super().resolve_command(ctx, args)


class Found:
    """The aliases of a file."""

    def __init__(self, file: Path, aliases: Mapping[str, str]) -> None:
        self.file = file
        self.aliases = aliases


def options(args: Sequence[str]) -> tuple[Path | None, str | None]:
    """The configuration file and the destination that the words after an alias name."""
    file: str | None = None
    destination: str | None = None
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if word in ("-c", "--config-file"):
            file = next(words, None)
        elif word in ("-d", "--destination"):
            destination = next(words, None)
        elif equals and name == "--config-file":
            file = value
        elif equals and name == "--destination":
            destination = value
    return (Path(file) if file else None), destination


def read(context: Context, file: Path | None, destination: str | None) -> Found | None:
    """The aliases of the project; None where there is no configuration. ConfigError where it is wrong."""
    from deployer.config.document import Document
    from deployer.config.load import DEFAULT_FILE, read_files
    from deployer.config.template.world import local_world
    from freehold.settings import read as read_settings

    path = file or DEFAULT_FILE
    if not (context.root / path).is_file():
        return None
    world = local_world(context.root, context.environ, context.runner)
    node = read_files(context.root, path, destination, world).node
    document: Any = read_settings(Document, node, extensions=True)
    return Found(path, document.aliases)


def expand(
    args: Sequence[str], aliases: Mapping[str, str], commands: Collection[str], file: str = ""
) -> list[str]:
    """The words with an alias in front replaced, until a command stands there; further words go behind.

    ConfigError for one that leads to itself or to no command.
    """
    words = list(args)
    seen: list[str] = []
    while words and words[0] in aliases and words[0] not in commands:
        name = words[0]
        if name in seen or len(seen) == DEPTH:
            raise ConfigError(
                f"the alias {name!r} leads to itself: {' → '.join([*seen, name])}",
                where=Location(file, key=f"aliases.{name}"),
            )
        seen.append(name)
        try:
            parts = split_words(aliases[name])
        except ValueError as exc:
            raise ConfigError(
                f"the alias {name!r} is no command line: {exc}",
                where=Location(file, key=f"aliases.{name}"),
                hint="quotes come in pairs",
            ) from exc
        if parts[0] not in commands and parts[0] not in aliases:
            from deployer.config.pattern import offer

            raise ConfigError(
                f"the alias {name!r} stands for {parts[0]!r}, which is no command",
                where=Location(file, key=f"aliases.{name}"),
                hint=offer(parts[0], list(commands)),
            )
        words = [*parts, *words[1:]]
    return words


def hidden(aliases: Mapping[str, str], commands: Collection[str]) -> list[str]:
    """The aliases that can never be called, as a command that Kamal does not have is called so."""
    return [name for name in aliases if name in commands]
