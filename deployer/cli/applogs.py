"""`freehold app logs`."""

from __future__ import annotations

import click

from deployer.cli.options import Target, log_options, reading
from deployer.commands.wishes import LogWishes
from freehold.command import Context


@click.command()
@log_options("Go on with new lines, also after a deploy.")
@click.option("--container-id", metavar="ID", help="This container instead of the one that serves.")
@reading
def logs(context: Context, target: Target, wishes: LogWishes, container_id: str | None) -> int:
    """Show what the application writes, with the host in front of each line."""
    from deployer.cli.session import open_session
    from deployer.cli.work import follow_all
    from deployer.commands.logs import container_logs_command, logs_command

    session = open_session(context, target)
    config = session.config
    if container_id:
        text = container_logs_command(config, container_id, wishes)
        found = [(host, text) for host in config.hosts]
    else:
        found = [
            (host, logs_command(config, role, wishes, target.version))
            for host in config.hosts
            for role in config.roles_on(host)
        ]
    with session.fleet() as fleet:
        return follow_all(context, fleet, found, endless=wishes.follow)
