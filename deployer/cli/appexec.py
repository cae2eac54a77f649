"""`freehold app exec`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence

import click

from deployer.cli.options import Target, reading
from freehold.command import Context

ENV = ("-e", "--env")
PAIR = re.compile(r"[A-Za-z_]\w*:")
"""How Kamal writes a variable. Freehold's own NAME=VALUE stands alone behind its `-e`."""


def spread(args: Sequence[str]) -> list[str]:
    """The words with `-e` before each pair: as in Kamal, `-e A:1 B:2 CMD` gives CMD two variables."""
    words: list[str] = []
    rest = list(args)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        words.append(word)
        name, equals, value = word.partition("=")
        if name in ENV and not equals and rest:
            value = rest.pop(0)
            words.append(value)
        elif word.startswith("-e") and len(word) > 2:
            value = word[2:]
        elif name not in ENV:
            continue
        while PAIR.match(value) and rest and PAIR.match(rest[0]):
            words += ["-e", rest.pop(0)]
    return words + rest


class Exec(click.Command):
    """A command whose `-e` is followed by one pair or more."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with one pair behind each `-e`."""
        return super().parse_args(ctx, spread(args))


@click.command("exec", cls=Exec)
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on one host.")
@click.option("--reuse", is_flag=True, help="In the container that serves instead of a new one.")
@click.option(
    "-e",
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="More environment; NAME:VALUE, or several, is understood too.",
)
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
    from deployer.commands import execute, phases

    _check(interactive=interactive, reuse=reuse, detach=detach, raw=raw)
    session = open_session(context, target)
    config = session.config
    pairs = [variable(item) for item in env]
    piped = raw and not sys.stdin.isatty()
    line = command[0] if len(command) == 1 else shlex.join(command)

    def ran(role_name: str) -> str:
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

    def text(host: str, role_name: str) -> str:
        return phases.noted(config, f"{session.who()} executed '{line}' in {role_name}", ran(role_name))

    host, role = config.primary_host, config.primary_role.name
    with session.fleet() as fleet:
        if interactive:
            from deployer.terminal import interactive as join

            context.console.info(f"{host}: {line}")
            return join(fleet[host], work.bash(text(host, role)))
        if raw:
            return work.raw(fleet, host, text(host, role))
        each = [(host, role.name) for host in config.hosts for role in config.roles_on(host)]
        if context.console.json:
            places = [({"host": host, "role": role}, text(host, role)) for host, role in each]
            return work.collect_all(context, fleet, places)
        return work.follow_all(context, fleet, [(host, text(host, role)) for host, role in each])


def _check(**given: bool) -> None:
    from freehold.errors import UsageError

    for one, others in (("detach", ("interactive", "reuse", "raw")), ("raw", ("interactive",))):
        for other in others:
            if given[one] and given[other]:
                raise UsageError(f"--{one} and --{other} exclude each other")


def variable(text: str) -> tuple[str, str]:
    """The name and the value of `NAME=VALUE`. UsageError: it is not written so."""
    from freehold.errors import UsageError

    # Kamal's way is NAME:value; what comes first ends the name, as values hold either.
    match = re.fullmatch(r"([^=:]+)[=:](.*)", text, re.DOTALL)
    if match is None:
        raise UsageError(f"{text!r} is no NAME=VALUE")
    return match[1], match[2]
