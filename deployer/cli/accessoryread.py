"""`freehold accessory details`, `exec`, `logs`: look into accessories."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli.accessory import any_name, name_argument, opened
from deployer.cli.options import Target, log_options, reading
from deployer.commands.wishes import LogWishes
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.accessories import Placed
    from deployer.commands.accessorylook import Found


@click.command()
@any_name
@reading
def details(context: Context, name: str, target: Target) -> int:
    """Show the container of NAME, or of all."""
    from deployer.cli.work import rows

    with opened(context, target, name) as (_, work, placed):
        found = work.seen(placed)
    return rows(context, DETAILS, detail_rows(found.values, placed), found.errors)


DETAILS = ("host", "accessory", "state", "status", "image", "container")


def detail_rows(found: Mapping[str, Mapping[str, Found]], placed: Placed) -> list[tuple[str, ...]]:
    """One row for each accessory and host that could be asked."""
    from deployer.commands.accessorylook import Found

    shown: list[tuple[str, ...]] = []
    for host, beside in found.items():
        for item in placed[host]:
            known = beside.get(item.name, Found())
            image = known.container_image or item.image
            shown.append((host, item.name, known.state or "missing", known.status, image, item.service))
    return shown


@click.command("exec")
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on the first host.")
@click.option("--reuse", is_flag=True, help="In the container that runs instead of a new one.")
@click.option("--raw", is_flag=True, help="Output as it is, byte by byte, from the first host.")
@name_argument
@click.argument("command", nargs=-1, required=True)
@reading
def exec_(
    context: Context,
    name: str,
    command: tuple[str, ...],
    target: Target,
    interactive: bool,
    reuse: bool,
    raw: bool,
) -> int:
    """Run COMMAND in a container of the accessory NAME; its exit code is this command's."""
    from deployer.cli import work as shared
    from deployer.cli.typed import noted, typed
    from deployer.commands import accessoryexec as commands
    from freehold.errors import UsageError

    if raw and interactive:
        raise UsageError("--raw and --interactive exclude each other")
    line = typed(command)
    piped = raw and not sys.stdin.isatty()
    with opened(context, target, name) as (session, work, placed):
        item = session.config.accessory(name)
        if reuse:
            text = commands.exec_reuse(item, line, terminal=interactive, stdin=piped)
        else:
            text = commands.exec_new(item, line, terminal=interactive, stdin=piped)
        text = noted(session, command, f"in {name}", text)
        first = next(iter(placed))
        if interactive:
            from deployer.terminal import interactive as join

            context.console.info(f"{first}: {line}")
            return join(work.fleet[first], shared.bash(text))
        if raw:
            return shared.raw(work.fleet, first, text)
        if context.console.json:
            return shared.collect_all(context, work.fleet, [({"host": host}, text) for host in placed])
        return shared.follow_all(context, work.fleet, [(host, text) for host in placed])


@click.command()
@log_options()
@name_argument
@reading
def logs(context: Context, name: str, target: Target, wishes: LogWishes) -> int:
    """Show what the accessory NAME writes."""
    from deployer.cli.work import follow_all
    from deployer.commands import accessoryexec as commands

    with opened(context, target, name) as (session, work, placed):
        text = commands.logs_command(session.config.accessory(name), wishes)
        found = [(host, text) for host in placed]
        return follow_all(context, work.fleet, found, endless=wishes.follow)
