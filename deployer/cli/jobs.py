"""`freehold jobs …`: what runs by the clock, when it ran last and how it went; run one now."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, reading
from freehold.command import Context, Group

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.commands.jobruns import JobState
    from deployer.config.jobs import Job
    from deployer.fleet import Answers, Fleet

DEADLINE = 60.0


@click.group(cls=Group)
def jobs() -> None:
    """Scheduled jobs: each runs once per schedule, on one host, with the version that serves."""


@jobs.command("list")
@reading
def list_(context: Context, target: Target) -> int:
    """Show every job: its host, when it runs next, and how it went last.

    Exit code 1 where a host cannot be asked.
    """
    from deployer.cli.session import open_session
    from deployer.cli.work import problem
    from deployer.commands.jobruns import JobState

    session = open_session(context, target)
    asked = [job for job in session.whole.jobs if job.host in session.config.hosts]
    with session.fleet() as fleet:
        answers = look(session, fleet, asked)
    rows = []
    for job in asked:
        silent = answers.errors.get(job.host)
        state = answers.values.get(job.host, {}).get(job.name, JobState())
        last = state.runs[-1] if state.runs else None
        rows.append(
            {
                "job": job.name,
                "schedule": job.schedule,
                "host": job.host,
                "next": state.next or ("" if silent else "not installed (deploy)"),
                "last": last.start if last else "",
                "result": last.result if last else "",
                "seconds": last.seconds if last else None,
                "version": last.version if last else "",
                "problem": problem(job.host, silent) if silent else "",
            }
        )
    if context.console.json:
        context.console.data(rows)
    elif not rows:
        context.console.print(f"{session.whole.file} has no jobs")
    else:
        fields = [name for name in rows[0] if name != "problem" or answers.errors]
        context.console.table(
            fields, [["" if row[name] is None else row[name] for name in fields] for row in rows]
        )
    return int(bool(answers.errors))


def whole(session: Session) -> Session:
    """All hosts, as a job is where the file says, whatever hosts are asked for."""
    return dataclasses.replace(session, config=session.whole)


def look(session: Session, fleet: Fleet, wanted: Iterable[Job]) -> Answers[Mapping[str, JobState]]:
    """The state of jobs, by host and job."""
    from deployer.commands.jobruns import list_script, parse_states
    from deployer.fleet import Answers
    from deployer.report import told

    scripts = {job.host: list_script(session.whole, job.host) for job in wanted}
    found = told(scripts, fleet.run(scripts, "Looking", timeout=DEADLINE))
    return Answers(
        {host: parse_states(result.lines("jobs")) for host, result in found.values.items()}, found.errors
    )


@jobs.command()
@click.argument("name")
@reading
def run(context: Context, name: str, target: Target) -> int:
    """Run the job NAME now, on its host, and show what it prints; the exit code is the job's."""
    from deployer.cli.session import open_session
    from deployer.cli.work import bash
    from deployer.commands import phases
    from deployer.commands.jobruns import run_command
    from deployer.commands.jobs import MARK
    from freehold.errors import HostError

    session = whole(open_session(context, target))
    job = session.whole.job(name)
    line = f"{session.who()} ran the job {name}"
    command = bash(phases.noted(session.whole, line, run_command(session.whole, job)))
    lines: list[str] = []
    why: list[str] = []
    heard = False

    def show(text: str) -> None:
        nonlocal heard
        if not heard and text.startswith(MARK):
            why.append(text.removeprefix(MARK))
        elif context.console.json:
            lines.append(text)
        else:
            context.console.print(text)
        heard = True

    with session.fleet() as fleet:
        remote = fleet[job.host]
        code = remote.follow(command, show, threading.Event())
    # The job's own exit code may be any.
    if why == ["busy"]:
        raise HostError(f"the job {name} runs already", host=job.host, hint="`freehold jobs list` shows it")
    if why == ["missing"]:
        raise HostError(f"the job {name} is not installed", host=job.host, hint="deploy first")
    if context.console.json:
        context.console.data({"job": name, "host": job.host, "code": code, "output": "\n".join(lines)})
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
    from deployer.commands.jobruns import JobState, log_command

    session, console = whole(open_session(context, target)), context.console
    job = session.whole.job(name)
    found = []
    with session.fleet() as fleet:
        state = look(session, fleet, [job]).all()[job.host].get(name, JobState())
        for one in state.runs[-count:]:
            output = fleet[job.host].exec(log_command(session.whole, job, one), timeout=DEADLINE).stdout
            found.append((one, output))
    if console.json:
        console.data([{**vars(one), "output": output} for one, output in found])
        return
    if not found:
        console.print(f"{name} has not run yet")
    for one, output in found:
        ended = one.result + (f" after {one.seconds} s" if one.seconds is not None else "")
        console.print(f"{one.start} {one.version} ({one.why}): {ended}")
        console.print(output.rstrip("\n"))
