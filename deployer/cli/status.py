"""`freehold status` and `freehold top`: hosts and containers as they are now, once or live."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, reading
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.commands.difference import Change
    from deployer.commands.status import HostStatus
    from deployer.fleet import Answers, Fleet

CLEAR = "\033[H\033[2J"
DEADLINE = 60.0


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Go on showing until Ctrl-C.")
@click.option(
    "--interval",
    default=2.0,
    type=click.FloatRange(0.5),
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("-a", "--all", "everything", is_flag=True, help="Show kept containers that do not run, too.")
@reading
def status(context: Context, watch: bool, interval: float, everything: bool, target: Target) -> int:
    """Show every host with its load and the containers on it: version, health, CPU, memory.

    Exit code 1 where a host cannot be asked or what serves is not healthy.
    """
    return show(context, target, watch=watch, interval=interval, everything=everything)


@click.command()
@click.option(
    "--interval",
    default=2.0,
    type=click.FloatRange(0.5),
    show_default=True,
    help="Seconds between two looks.",
)
@reading
def top(context: Context, interval: float, target: Target) -> int:
    """Show hosts and containers live (`status --watch`)."""
    return show(context, target, watch=True, interval=interval, everything=False)


def show(context: Context, target: Target, *, watch: bool, interval: float, everything: bool) -> int:
    """Ask and print, once or until Ctrl-C; with `--json` and `watch` one list of hosts a line.

    Once: 1 where something is not well. Ctrl-C is how watching ends, and no failure: 0.
    """
    from deployer.cli.session import open_session

    session, console = open_session(context, target, accessories=True), context.console
    with session.fleet() as fleet:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    frame(context, look(session, fleet), everything=everything)
                    time.sleep(interval)
            return 0
        found = look(session, fleet)
    if console.json:
        console.data([dataclasses.asdict(host) for host in found])
    else:
        print_tables(context, found, everything=everything)
    return int(any(not well(host) for host in found))


def frame(context: Context, found: list[HostStatus], *, everything: bool) -> None:
    """One of many looks, in place of the one before where this is a terminal."""
    console = context.console
    if console.json:
        console.print(json.dumps([dataclasses.asdict(host) for host in found]))
        return
    if console.out.isatty():
        console.out.write(CLEAR)
    print_tables(context, found, everything=everything)


def look(session: Session, fleet: Fleet) -> list[HostStatus]:
    """Ask every host at once; one that cannot be asked says why."""
    from deployer.commands.status import HostStatus, parse_status, status_script

    config = session.config

    def work(host: str) -> HostStatus:
        return parse_status(config, fleet[host].run(status_script(config, host), timeout=DEADLINE))

    answers = fleet.each(session.hosts, work)
    return [
        answers.values[host]
        if host in answers.values
        else HostStatus(host, problem=answers.errors[host].message.removeprefix(f"{host}: "))
        for host in session.hosts
    ]


def well(host: HostStatus) -> bool:
    """It answers, and what serves there is healthy."""
    return (
        not host.problem
        and not any(one.state for one in host.behind)
        and all(
            container.health in ("", "healthy", "starting")
            for container in host.containers
            if container.serves
        )
    )


def print_tables(context: Context, found: list[HostStatus], *, everything: bool) -> None:
    """Hosts above, containers below."""
    from freehold.console import size

    def used(part: int | None, whole: int | None) -> str:
        return f"{size(part)} of {size(whole)}" if part is not None and whole else ""

    rows = []
    for host in found:
        rows.append(
            (
                host.host,
                host.version or "",
                f"{host.cpu:.0%}" if host.cpu is not None else "",
                f"{host.load:.2f}" if host.load is not None else "",
                used(host.memory_used, host.memory_total),
                used(host.disk_used, host.disk_total),
                host.proxy,
                host.problem,
            )
        )
    console = context.console
    fields = ["host", "version", "cpu", "load", "memory", "disk", "proxy", "problem"]
    if not any(host.problem for host in found):
        rows, fields = [row[:-1] for row in rows], fields[:-1]  # type: ignore[misc]
    console.table(fields, rows)
    console.print()
    containers = [
        (
            c.host,
            c.role,
            c.version,
            c.state,
            c.health,
            c.mode or ("yes" if c.serves else ""),
            c.cpu,
            c.memory,
            c.container,
        )
        for host in found
        for c in host.containers
        if everything or c.state != "exited"
    ]
    console.table(
        ("host", "role", "version", "state", "health", "serves", "cpu", "memory", "container"), containers
    )
    spread = [
        (host.host, one.prefix, one.address, one.state or "healthy") for host in found for one in host.behind
    ]
    if spread:
        console.print()
        console.table(("host", "balances", "to", "state"), spread)


@click.command()
@reading
def diff(context: Context, target: Target) -> int:
    """Show what the configuration and the environment would change on the hosts, without a deploy.

    Of a secret only that it changed is shown, never a value. Exit code 1 where a host cannot be asked.
    """
    from deployer.cli.session import open_session
    from deployer.cli.work import problem, unanswered

    session, console = open_session(context, target), context.console
    with session.fleet() as fleet:
        answers = differences(session, fleet)
    found = [change for changes in answers.values.values() for change in changes]
    if console.json:
        silent = [{"host": host, "problem": problem(host, exc)} for host, exc in answers.errors.items()]
        console.data([*(dataclasses.asdict(change) for change in found), *silent])
        return int(bool(silent))
    if not found and not answers.errors:
        console.print("nothing: the hosts run what the configuration says")
    place = None
    styles = {"+": "green", "-": "red", "~": "yellow"}
    for change in found:
        if place != (change.host, change.role):
            place = (change.host, change.role)
            console.print(f"{change.host}: {change.role}")
        console.print(console.paint(f"  {change.sign} {change.what}", styles[change.sign]))
    return unanswered(context, answers.errors)


def differences(session: Session, fleet: Fleet) -> Answers[list[Change]]:
    """What differs on each of the session's hosts."""
    from deployer.commands.difference import changes, question
    from deployer.fleet import Answers
    from deployer.report import told

    config = session.config
    scripts = {host: question(config, host) for host in config.routed_hosts}
    found = told(scripts, fleet.run(scripts, "Comparing", timeout=DEADLINE))
    return Answers({host: list(changes(config, one)) for host, one in found.values.items()}, found.errors)
