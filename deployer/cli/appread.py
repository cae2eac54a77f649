"""`freehold app details`, `containers`, `images`, `version`, `stale_containers`: what is there."""

from __future__ import annotations

import click

from deployer.cli.options import Target, lock_wait, reading
from freehold.command import Context


def show(context: Context, target: Target) -> None:
    """The containers of the application."""
    from deployer.cli.session import open_session
    from deployer.cli.work import ask, rows
    from deployer.commands import app as commands

    session = open_session(context, target)
    results = ask(session, lambda host: commands.details(session.config), "Looking", "containers")
    fields = ("host", "name", "state", "status", "image", "created")
    lines = [(host, line) for host, result in results.items() for line in result.lines("containers")]
    rows(context, fields, [(host, *line.split("\t")) for host, line in lines])


@click.command()
@reading
def details(context: Context, target: Target) -> None:
    """Show the containers of the application on every host."""
    show(context, target)


@click.command()
@reading
def containers(context: Context, target: Target) -> None:
    """Show the containers of the application, running or not."""
    show(context, target)


@click.command()
@reading
def images(context: Context, target: Target) -> None:
    """Show the images of the application on every host."""
    from deployer.cli.session import open_session
    from deployer.cli.work import ask, rows
    from deployer.commands import app as commands

    session = open_session(context, target)
    results = ask(session, lambda host: commands.images(session.config), "Looking", "images")
    fields = ("host", "image", "id", "size", "created")
    lines = [(host, line) for host, result in results.items() for line in result.lines("images")]
    rows(context, fields, [(host, *line.split("\t")) for host, line in lines])


@click.command()
@reading
def version(context: Context, target: Target) -> None:
    """Show the version that serves on every host."""
    from deployer.cli.session import open_session
    from deployer.rollout import Rollout

    session = open_session(context, target)
    with session.fleet() as fleet:
        facts = Rollout(session.config, fleet, context.console, "", session.who()).look()
    found = {host: known.version or "" for host, known in facts.items()}
    if context.console.json:
        context.console.data(found)
    else:
        context.console.table(("host", "version"), [(h, v or "none") for h, v in found.items()])


@click.command("stale_containers")
@click.option("-s", "--stop", is_flag=True, help="Stop them.")
@lock_wait
@reading
def stale_containers(context: Context, target: Target, stop: bool, lock_wait: int) -> None:
    """Show containers that run although another version serves."""
    import contextlib

    from deployer.cli.deploy import lock_held
    from deployer.cli.session import open_session
    from deployer.cli.work import rows
    from deployer.commands import app as commands
    from deployer.commands import prune
    from deployer.report import must
    from deployer.rollout import Rollout

    session = open_session(context, target)
    config = session.config
    with contextlib.ExitStack() as stack:
        fleet = stack.enter_context(session.fleet())
        if stop:
            stack.enter_context(lock_held(context, session, fleet, "app stale_containers", lock_wait))
        facts = Rollout(config, fleet, context.console, "", session.who()).look()
        found = {host: prune.stale(config, known) for host, known in facts.items()}
        if stop:
            scripts = {
                host: commands.stop_containers(config, items) for host, items in found.items() if items
            }
            must(scripts, fleet.run(scripts, "Stopping", timeout=600), "stale containers")
    fields = ("host", "role", "version", "container", "state")
    state = "stopped" if stop else ""
    shown = [(h, c.role, c.version, c.name, state or c.state) for h, items in found.items() for c in items]
    rows(context, fields, shown)
    if shown and not stop:
        context.console.info("`freehold app stale_containers --stop` stops them")
