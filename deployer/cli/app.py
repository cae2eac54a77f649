"""`freehold app …`: the application's containers."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli import traffic
from deployer.cli.options import Target, lock_wait, target_options
from freehold.command import Context, common_options, pass_context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.script import Script, ScriptResult


@click.group()
def app() -> None:
    """Look into the application's containers and handle them."""


def bash(fragment: str) -> str:
    """A fragment for a user whatever their login shell is."""
    return shlex.join(["bash", "-c", fragment])


def ask(
    session: Session, script: Callable[[str], Script], title: str, step: str
) -> Mapping[str, ScriptResult]:
    """Run a reading script on every host and return what came back; HostError where one fails."""
    from deployer.report import check, summary

    with session.fleet() as fleet:
        scripts = {host: script(host) for host in session.config.hosts}
        answers = fleet.run(scripts, title, timeout=120)
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, step) if errors[1:] else errors[0]
        return answers.values


@app.command()
@target_options
@common_options
@pass_context
def details(context: Context, target: Target) -> None:
    """Show the containers of the application on every host."""
    from deployer.cli.session import open_session
    from deployer.commands import app as commands

    session = open_session(context, target)
    results = ask(session, lambda host: commands.details(session.config), "Looking", "containers")
    fields = ("name", "state", "status", "image", "created")
    rows = [
        (host, *line.split("\t")) for host, result in results.items() for line in result.lines("containers")
    ]
    if context.console.json:
        context.console.data([dict(zip(("host", *fields), row, strict=False)) for row in rows])
    else:
        context.console.table(("host", *fields), rows)


@app.command()
@target_options
@common_options
@pass_context
def containers(context: Context, target: Target) -> None:
    """Show the containers of the application, running or not."""
    click.get_current_context().invoke(details, **_again(target))


@app.command()
@target_options
@common_options
@pass_context
def images(context: Context, target: Target) -> None:
    """Show the images of the application on every host."""
    from deployer.cli.session import open_session
    from deployer.commands import app as commands

    session = open_session(context, target)
    results = ask(session, lambda host: commands.images(session.config), "Looking", "images")
    fields = ("image", "id", "size", "created")
    rows = [(host, *line.split("\t")) for host, result in results.items() for line in result.lines("images")]
    if context.console.json:
        context.console.data([dict(zip(("host", *fields), row, strict=False)) for row in rows])
    else:
        context.console.table(("host", *fields), rows)


@app.command()
@target_options
@common_options
@pass_context
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


@app.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, also after a deploy.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Lines per host (default: 100, with a grep all).")
@click.option("-s", "--since", help="Only since then: 10m, 2h, 2026-01-31T12:00:00Z.")
@click.option("-g", "--grep", help="Only lines that match this pattern.")
@click.option("--grep-options", help="Options for grep.")
@click.option("-T", "--skip-timestamps", is_flag=True, help="No timestamps.")
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
) -> None:
    """Show what the application writes, with the host in front of each line."""
    from deployer.cli.session import open_session
    from deployer.commands import app as commands

    session = open_session(context, target)
    if lines is None and not since and not grep:
        lines = 10 if follow else 100
    with session.fleet() as fleet:
        stop = threading.Event()
        many = sum(len(session.config.roles_on(host)) for host in session.config.hosts) > 1

        def show(host: str, line: str) -> None:
            context.console.print(f"{context.console.host_label(host)} {line}" if many else line)

        def work(host: str) -> int:
            status = 0
            for role in session.config.roles_on(host):
                command = commands.logs_command(
                    session.config,
                    role,
                    follow=follow,
                    lines=lines,
                    since=since,
                    grep=grep,
                    grep_options=grep_options,
                    timestamps=not skip_timestamps,
                )
                status |= fleet[host].follow(bash(command), lambda line: show(host, line), stop)
            return status

        try:
            fleet.each(session.config.hosts, work).all()
        except KeyboardInterrupt:
            stop.set()


@app.command("exec")
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on one host.")
@click.option("--reuse", is_flag=True, help="In the container that serves instead of a new one.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="More environment.")
@click.argument("command", nargs=-1, required=True)
@target_options
@common_options
@pass_context
def exec_(
    context: Context,
    target: Target,
    interactive: bool,
    reuse: bool,
    env: tuple[str, ...],
    command: tuple[str, ...],
) -> int:
    """Run COMMAND in a container of the application; its exit code is this command's."""
    from deployer.cli.session import open_session
    from deployer.commands import app as commands

    session = open_session(context, target)
    pairs = [_pair(item) for item in env]
    line = command[0] if len(command) == 1 else shlex.join(command)
    config = session.config

    def text(host: str) -> str:
        role = config.roles_on(host)[0]
        if reuse:
            return bash(
                commands.exec_reuse(
                    config, role, line, env=pairs, terminal=interactive, version=target.version
                )
            )
        return bash(
            commands.exec_new(config, role, line, env=pairs, terminal=interactive, version=target.version)
        )

    with session.fleet() as fleet:
        if interactive:
            from deployer.terminal import interactive as join

            host = config.primary_host
            context.console.info(f"{host}: {line}")
            return join(fleet[host], text(host))
        statuses: dict[str, int] = {}
        many = len(config.hosts) > 1

        def work(host: str) -> int:
            def show(out: str) -> None:
                context.console.print(f"{context.console.host_label(host)} {out}" if many else out)

            statuses[host] = fleet[host].follow(text(host), show, threading.Event())
            return statuses[host]

        fleet.each(config.hosts, work).all()
        return max(statuses.values(), default=0)


def _pair(text: str) -> tuple[str, str]:
    from freehold.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no NAME=VALUE")
    return name, value


def _again(target: Target) -> dict[str, object]:
    return {f"target_{name}": getattr(target, name) for name in Target.__dataclass_fields__}


def _change(
    context: Context,
    target: Target,
    why: str,
    wait: int,
    script: Callable[[Session, str], Script],
    title: str,
) -> None:
    """Run a changing script on every host under the lock."""
    from deployer.cli.deploy import lock_held
    from deployer.cli.session import open_session
    from deployer.report import check, summary

    session = open_session(context, target)
    with session.fleet() as fleet, lock_held(context, session, fleet, why, wait):
        scripts = {host: script(session, host) for host in session.config.hosts}
        answers = fleet.run(scripts, title, timeout=600)
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, why) if errors[1:] else errors[0]


@app.command()
@target_options
@lock_wait
@common_options
@pass_context
def stop(context: Context, target: Target, lock_wait: int) -> None:
    """Stop the application's containers."""
    from deployer.commands import app as commands

    _change(
        context,
        target,
        "app stop",
        lock_wait,
        lambda session, host: commands.stop(session.config, session.config.roles_on(host)),
        "Stopping",
    )


@app.command()
@target_options
@lock_wait
@common_options
@pass_context
def start(context: Context, target: Target, lock_wait: int) -> None:
    """Start the containers of the version that served last, and wait until they are healthy."""
    from deployer.cli.deploy import lock_held
    from deployer.cli.session import open_session
    from deployer.commands import app as commands
    from deployer.report import check, summary
    from deployer.rollout import Rollout
    from freehold.errors import InputError

    session = open_session(context, target)
    with session.fleet() as fleet, lock_held(context, session, fleet, "app start", lock_wait):
        facts = Rollout(session.config, fleet, context.console, "", session.who()).look()
        scripts = {}
        for host, known in facts.items():
            chosen = target.version or known.version
            if not chosen:
                raise InputError(f"{host}: nothing has been deployed yet", hint="`freehold deploy`")
            scripts[host] = commands.start(session.config, session.config.roles_on(host), chosen)
        answers = fleet.run(scripts, "Starting", timeout=600)
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, "app start") if errors[1:] else errors[0]


@app.command()
@click.option("-y", "--confirmed", is_flag=True, help="Do not ask.")
@target_options
@lock_wait
@common_options
@pass_context
def remove(context: Context, target: Target, confirmed: bool, lock_wait: int) -> None:
    """Remove the application from the hosts: routes, containers, images, files."""
    from deployer.commands import app as commands

    if not confirmed:
        click.confirm(
            "Remove the application, its images and its history from the hosts?", abort=True, err=True
        )
    _change(
        context,
        target,
        "app remove",
        lock_wait,
        lambda session, host: commands.remove(session.config, session.config.roles_on(host)),
        "Removing",
    )


app.add_command(traffic.maintenance)
app.add_command(traffic.live)
app.add_command(traffic.pause)
app.add_command(traffic.resume)
