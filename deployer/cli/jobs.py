"""`freehold jobs …`: what runs by the clock, when it ran last and how it went; run one now."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, reading
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.commands.jobs import JobState
    from deployer.fleet import Fleet

DEADLINE = 60.0


@click.group()
def jobs() -> None:
    """Scheduled jobs: each runs once per schedule, on one host, with the version that serves."""


@jobs.command("list")
@reading
def list_(context: Context, target: Target) -> None:
    """Show every job: its host, when it runs next, and how it went last."""
    from deployer.cli.session import open_session

    session = open_session(context, target)
    with session.fleet() as fleet:
        states = look(session, fleet)
    rows = []
    for job in session.whole.jobs:
        if job.name not in states:
            continue
        state = states[job.name]
        last = state.runs[-1] if state.runs else None
        result = "" if last is None else "running" if last.code is None else f"exit code {last.code}"
        rows.append(
            {
                "job": job.name,
                "schedule": job.schedule,
                "host": job.host,
                "next": state.next or "not installed (deploy)",
                "last": last.start if last else "",
                "result": result,
                "seconds": last.seconds if last else None,
                "version": last.version if last else "",
            }
        )
    if context.console.json:
        context.console.data(rows)
    elif not rows:
        context.console.print(f"{session.whole.file} has no jobs")
    else:
        context.console.table(
            tuple(rows[0]), [["" if value is None else value for value in row.values()] for row in rows]
        )


def whole(session: Session) -> Session:
    """All hosts, as a job is where the file says, whatever hosts are asked for."""
    return dataclasses.replace(session, config=session.whole)


def look(session: Session, fleet: Fleet) -> dict[str, JobState]:
    """The state of the jobs on the session's hosts, by job."""
    from deployer.commands.jobs import JobState, list_script, parse_states
    from deployer.report import check

    hosts = {job.host for job in session.whole.jobs} & set(session.config.hosts)
    scripts = {host: list_script(session.whole, host) for host in session.config.hosts if host in hosts}
    results = fleet.run(scripts, "Looking", timeout=DEADLINE).all()
    for error in check(scripts, results):
        raise error
    found: dict[str, JobState] = {}
    for host, result in results.items():
        states = parse_states(result.lines("jobs"))
        for job in session.whole.jobs:
            if job.host == host:
                found[job.name] = states.get(job.name, JobState())
    return found


@jobs.command()
@click.argument("name")
@reading
def run(context: Context, name: str, target: Target) -> int:
    """Run the job NAME now, on its host, and show what it prints; the exit code is the job's."""
    from deployer.cli.session import open_session
    from deployer.commands.jobs import BUSY, run_command
    from freehold.errors import HostError

    session = whole(open_session(context, target))
    job = session.whole.job(name)
    command = run_command(session.whole, job)
    with session.fleet() as fleet:
        remote = fleet[job.host]
        code = remote.follow(command, context.console.print, threading.Event())
    if code == BUSY:
        raise HostError(f"the job {name} runs already", host=job.host, hint="`freehold jobs list` shows it")
    if code == 127:
        raise HostError(f"the job {name} is not installed", host=job.host, hint="deploy first")
    return code


@jobs.command()
@click.argument("name")
@click.option(
    "-n", "--runs", "count", default=1, type=click.IntRange(1), show_default=True, help="Last runs."
)
@reading
def logs(context: Context, name: str, count: int, target: Target) -> None:
    """Show what the last runs of the job NAME printed."""
    from deployer.cli.session import open_session
    from deployer.commands.jobs import log_command

    session, console = whole(open_session(context, target)), context.console
    job = session.whole.job(name)
    found = []
    with session.fleet() as fleet:
        state = look(session, fleet)[name]
        for one in state.runs[-count:]:
            output = fleet[job.host].exec(log_command(session.whole, job, one), timeout=DEADLINE).stdout
            found.append((one, output))
    if console.json:
        console.data([{**vars(one), "output": output} for one, output in found])
        return
    if not found:
        console.print(f"{name} has not run yet")
    for one, output in found:
        ended = "running" if one.code is None else f"exit code {one.code} after {one.seconds} s"
        console.print(f"{one.start} {one.version} ({one.why}): {ended}")
        console.print(output.rstrip("\n"))
