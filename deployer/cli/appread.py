"""`freehold app details`, `containers`, `images`, `version`, `stale_containers`: what is there."""

from __future__ import annotations

import click

from deployer.cli.options import Target, changing, reading
from freehold.command import Context


def show(context: Context, target: Target) -> int:
    """The containers of the application."""
    from deployer.cli.session import open_session
    from deployer.cli.work import ask, rows
    from deployer.commands import app as commands

    session = open_session(context, target)
    answers = ask(session, lambda host: commands.details(session.config), "Looking")
    fields = ("host", "name", "state", "status", "image", "created")
    lines = [(host, line) for host, result in answers.values.items() for line in result.lines("containers")]
    return rows(context, fields, [(host, *line.split("\t")) for host, line in lines], answers.errors)


@click.command()
@reading
def details(context: Context, target: Target) -> int:
    """Show the containers of the application on every host."""
    return show(context, target)


@click.command()
@reading
def containers(context: Context, target: Target) -> int:
    """Show the containers of the application, running or not."""
    return show(context, target)


@click.command()
@reading
def images(context: Context, target: Target) -> int:
    """Show the images of the application on every host."""
    from deployer.cli.session import open_session
    from deployer.cli.work import ask, rows
    from deployer.commands import app as commands

    session = open_session(context, target)
    answers = ask(session, lambda host: commands.images(session.config), "Looking")
    fields = ("host", "image", "id", "size", "created")
    lines = [(host, line) for host, result in answers.values.items() for line in result.lines("images")]
    return rows(context, fields, [(host, *line.split("\t")) for host, line in lines], answers.errors)


@click.command()
@reading
def version(context: Context, target: Target) -> int:
    """Show the version of each role that serves on every host."""
    from deployer.cli.session import open_session
    from deployer.cli.work import facts_of, rows
    from deployer.commands.serving import serving_role

    session = open_session(context, target)
    config = session.config
    with session.fleet() as fleet:
        facts = facts_of(session, fleet)
    found = [
        (host, role.name, serving_role(config, known, role) or "none")
        for host, known in facts.values.items()
        for role in config.roles_on(host)
    ]
    return rows(context, ("host", "role", "version"), found, facts.errors)


@click.command("stale_containers")
@click.option("-s", "--stop", is_flag=True, help="Stop them.")
@changing
def stale_containers(context: Context, target: Target, stop: bool, lock_wait: int) -> int:
    """Show containers that run although another version serves.

    One that is `draining` serves what was open at a switch and ends by itself: --stop leaves it alone.
    """
    import contextlib

    from deployer.cli.session import open_session
    from deployer.cli.work import facts_of, lock_held, rows
    from deployer.commands import app as commands
    from deployer.commands import phases, prune
    from deployer.report import told
    from deployer.script import limit

    session = open_session(context, target)
    config = session.config
    with contextlib.ExitStack() as stack:
        fleet = stack.enter_context(session.fleet())
        if stop:
            stack.enter_context(lock_held(context, session, fleet, "app stale_containers", lock_wait))
        facts = facts_of(session, fleet)
        errors = dict(facts.errors)
        found = {host: prune.stale(config, known) for host, known in facts.values.items()}
        if stop:
            scripts = {}
            for host, stale in found.items():
                items = [item for item in stale if not item.lingering]
                line = f"{session.who()} stopped {', '.join(item.name for item in items)}"
                if items:
                    stopping = commands.stop_containers(config, items)
                    scripts[host] = phases.audited(config, stopping, line)
            errors |= told(scripts, fleet.run(scripts, "Stopping", timeout=limit(scripts, 600))).errors
    fields = ("host", "role", "version", "container", "state")
    shown = []
    for host, stale in found.items():
        for c in stale:
            state = "stopped" if stop and host not in errors else c.state
            shown.append((host, c.role, c.version, c.name, "draining" if c.lingering else state))
    if any(not c.lingering for stale in found.values() for c in stale) and not stop:
        context.console.info("`freehold app stale_containers --stop` stops them")
    return rows(context, fields, shown, errors)
