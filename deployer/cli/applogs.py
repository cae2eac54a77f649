"""`freehold app logs`."""

from __future__ import annotations

import click

from deployer.cli.options import Target, target_options
from freehold.command import Context, common_options, pass_context


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, also after a deploy.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Lines per host (default: 100, with a grep all).")
@click.option("-s", "--since", help="Only since then: 10m, 2h, 2026-01-31T12:00:00Z.")
@click.option("-g", "--grep", help="Only lines that match this pattern.")
@click.option("-o", "--grep-options", help="Options for grep.")
@click.option("-T", "--skip-timestamps", is_flag=True, help="No timestamps.")
@click.option("--container-id", metavar="ID", help="This container instead of the one that serves.")
@target_options
@common_options
@pass_context
def logs(
    context: Context,
    target: Target,
    follow: bool,
    lines: int | None,
    since: str | None,
    grep: str | None,
    grep_options: str | None,
    skip_timestamps: bool,
    container_id: str | None,
) -> int:
    """Show what the application writes, with the host in front of each line."""
    from deployer.cli.session import open_session
    from deployer.cli.work import follow_all
    from deployer.commands.logs import container_logs_command, logs_command

    session = open_session(context, target)
    config = session.config
    if lines is None and not since and not grep:
        lines = 10 if follow else 100
    found = []
    for host in config.hosts:
        if container_id:
            text = container_logs_command(
                config,
                container_id,
                follow=follow,
                lines=lines,
                since=since,
                grep=grep,
                grep_options=grep_options,
                timestamps=not skip_timestamps,
            )
            found.append((host, text))
            continue
        for role in config.roles_on(host):
            text = logs_command(
                config,
                role,
                follow=follow,
                lines=lines,
                since=since,
                grep=grep,
                grep_options=grep_options,
                timestamps=not skip_timestamps,
                version=target.version,
            )
            found.append((host, text))
    with session.fleet() as fleet:
        return follow_all(context, fleet, found)
