"""`freehold app exec`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, reading
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.commands.execute import Passed
    from deployer.fleet import Fleet
    from deployer.script import ScriptResult
    from freehold.secret import Secret

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
    metavar="NAME[=VALUE]",
    help="More environment; without =VALUE as it is here. NAME:VALUE, or several, is understood too.",
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
    import secrets

    from deployer.cli import work
    from deployer.cli.session import open_session
    from deployer.cli.typed import noted, typed
    from deployer.commands import execute

    _check(interactive=interactive, reuse=reuse, detach=detach, raw=raw)
    session = open_session(context, target)
    config = session.config
    values = variables(env, context.environ)
    piped = raw and not sys.stdin.isatty()
    line = typed(command)
    host, role = config.primary_host, config.primary_role.name
    each = [(host, role.name) for host in config.hosts for role in config.roles_on(host)]
    places = [(host, role)] if interactive or raw else each
    passed = {place: execute.Passed(values, secrets.token_hex(8)) for place in places}

    def ran(place: tuple[str, str]) -> str:
        role, env = config.role(place[1]), passed[place]
        if reuse:
            return execute.exec_reuse(
                config, role, line, env=env, terminal=interactive, stdin=piped, version=target.version
            )
        return execute.exec_new(
            config,
            role,
            line,
            env=env,
            terminal=interactive,
            stdin=piped,
            version=target.version,
            detach=detach,
        )

    texts = {place: noted(session, command, f"in {place[1]}", ran(place), values) for place in places}
    with session.fleet() as fleet:
        if values:
            pass_on(fleet, passed)
        if interactive:
            from deployer.terminal import interactive as join

            context.console.info(f"{host}: {line}")
            return join(fleet[host], work.bash(texts[host, role]))
        if raw:
            return work.raw(fleet, host, texts[host, role])
        if context.console.json:
            named = [({"host": host, "role": role}, text) for (host, role), text in texts.items()]
            return work.collect_all(context, fleet, named)
        return work.follow_all(context, fleet, [(host, text) for (host, _), text in texts.items()])


def pass_on(fleet: Fleet, passed: Mapping[tuple[str, str], Passed]) -> None:
    """Have the environment on the hosts, for one command each. HostError where one cannot keep it.

    A host that cannot be reached is left to its command, which tells of it without keeping the others.
    """
    from deployer.report import check

    places = {f"{host} {role}": (host, one.script()) for (host, role), one in passed.items()}

    def write(key: str) -> ScriptResult:
        host, script = places[key]
        return fleet[host].run(script, timeout=60)

    found = fleet.each(places, write).values
    for error in check({key: places[key][1] for key in found}, found):
        raise error


def _check(**given: bool) -> None:
    from freehold.errors import UsageError

    for one, others in (("detach", ("interactive", "reuse", "raw")), ("raw", ("interactive",))):
        for other in others:
            if given[one] and given[other]:
                raise UsageError(f"--{one} and --{other} exclude each other")


def variables(items: Iterable[str], environ: Mapping[str, str]) -> dict[str, Secret]:
    """The values by name of what stood behind `-e`.

    UsageError: it is no NAME=VALUE and no NAME, or there is no variable of that name here.
    """
    from freehold.errors import UsageError
    from freehold.secret import Secret

    found: dict[str, Secret] = {}
    for item in items:
        name, value = variable(item)
        if not re.fullmatch(r"[^\s#=:][^\s=:]*", name):
            raise UsageError(f"-e {item!r} is no NAME=VALUE")
        if value is None and name not in environ:
            raise UsageError(
                f"-e {name}: there is no variable of that name here", hint=f"export {name}, or write {name}=…"
            )
        found[name] = Secret(environ[name] if value is None else value)
    return found


def variable(text: str) -> tuple[str, str | None]:
    """The name and the value of `NAME=VALUE`; None for the value where only the name is given."""
    # Kamal's way is NAME:value; what comes first ends the name, as values hold either.
    match = re.fullmatch(r"([^=:]*)[=:](.*)", text, re.DOTALL)
    return (match[1], match[2]) if match is not None else (text, None)
