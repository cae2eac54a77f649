"""`freehold app exec`."""

from __future__ import annotations

import shlex
import sys

import click

from deployer.cli.options import Target, reading
from freehold.command import Context


@click.command("exec")
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on one host.")
@click.option("--reuse", is_flag=True, help="In the container that serves instead of a new one.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="More environment.")
@click.option("--detach", is_flag=True, help="In a new container that goes on by itself; prints its id.")
@click.option("--raw", is_flag=True, help="Output as it is, byte by byte, from one host.")
@click.argument("command", nargs=-1, required=True)
@reading
def exec_(
    context: Context,
    target: Target,
    interactive: bool,
    reuse: bool,
    env: tuple[str, ...],
    detach: bool,
    raw: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND in a container of the application; its exit code is this command's.

    A new container gets it through the image's entrypoint. What only a shell understands (`a && b`,
    `$HOME`) is given to `sh -c` there.
    """
    from deployer.cli import work
    from deployer.cli.session import open_session
    from deployer.commands import execute

    _check(interactive=interactive, reuse=reuse, detach=detach, raw=raw)
    session = open_session(context, target)
    config = session.config
    pairs = [_pair(item) for item in env]
    piped = raw and not sys.stdin.isatty()
    line = command[0] if len(command) == 1 else shlex.join(command)

    def text(host: str, role_name: str) -> str:
        role = config.role(role_name)
        if reuse:
            return execute.exec_reuse(
                config, role, line, env=pairs, terminal=interactive, stdin=piped, version=target.version
            )
        return execute.exec_new(
            config,
            role,
            line,
            env=pairs,
            terminal=interactive,
            stdin=piped,
            version=target.version,
            detach=detach,
        )

    host, role = config.primary_host, config.primary_role.name
    with session.fleet() as fleet:
        if interactive:
            from deployer.terminal import interactive as join

            context.console.info(f"{host}: {line}")
            return join(fleet[host], work.bash(text(host, role)))
        if raw:
            return work.raw(fleet, host, text(host, role))
        each = [(host, role.name) for host in config.hosts for role in config.roles_on(host)]
        return work.follow_all(context, fleet, [(host, text(host, role)) for host, role in each])


def _check(**given: bool) -> None:
    from freehold.errors import UsageError

    for one, others in (("detach", ("interactive", "reuse", "raw")), ("raw", ("interactive",))):
        for other in others:
            if given[one] and given[other]:
                raise UsageError(f"--{one} and --{other} exclude each other")


def _pair(text: str) -> tuple[str, str]:
    from freehold.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no NAME=VALUE")
    return name, value
