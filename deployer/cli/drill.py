"""`freehold backup drill`: restore production's newest backups in the rehearsal, and read them."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, reading
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.commands.backup import Archive, Source
    from deployer.fleet import Fleet
    from deployer.remote import Remote
    from freehold.errors import FreeholdError


@dataclass(frozen=True)
class Drilled:
    """How the drill of one accessory went; `age` and `seconds` (of restoring and reading) in seconds.

    There is no age where the name of a file does not tell it.
    """

    accessory: str
    host: str
    backup: str = ""
    age: int | None = None
    seconds: int = 0
    found: tuple[str, ...] = ()
    error: str = ""


@click.command()
@click.argument("name", required=False)
@click.option(
    "--file",
    "local",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A backup on this computer, as `get` fetched it, instead of the newest on production's host.",
)
@reading
def drill(context: Context, name: str | None, local: Path | None, target: Target) -> None:
    """Prove with --lab that the newest backup of the accessory NAME (or of each) can be restored and read.

    It is fetched from production, restored into the lab's accessory, which is started where it does not run,
    and everything in it is read and counted. `backups.NAME.drill` adds a check of your own. What the lab's
    accessory held is replaced; production is only read.
    """
    from deployer.cli.session import open_session
    from freehold.errors import FreeholdError, UsageError

    if not target.lab:
        raise UsageError("a drill restores into the lab", hint="add --lab; `freehold lab up` makes one")
    if local is not None and name is None:
        raise UsageError("--file is the backup of one accessory", hint="name it: backup drill NAME --file …")
    session = open_session(context, target, accessories=True)
    sources = _sources(session, name)
    with ExitStack() as stack:
        machines = stack.enter_context(session.fleet_of([host for _, host in sources]))
        hosts = None if local is not None else stack.enter_context(_production(session, sources))
        done: list[Drilled] = []
        errors: list[FreeholdError] = []
        for source, host in sources:
            try:
                done.append(_drill(session, source, machines, host, hosts, local))
            except FreeholdError as exc:
                errors.append(exc)
                done.append(Drilled(source.accessory, host, error=exc.message))
    _report(context, done)
    if errors:
        from deployer.report import summary

        raise summary(errors, "the drill failed") if errors[1:] else errors[0]


def _sources(session: Session, name: str | None) -> list[tuple[Source, str]]:
    """What is drilled, and the host of each."""
    from deployer.cli.backup import place_of, source_of
    from deployer.config.backups import BackupSettings, kind_of
    from freehold.errors import UsageError

    config = session.whole
    known = [
        item
        for item in config.accessories
        if kind_of(item.image, config.backups.get(item.name, BackupSettings())) is not None
    ]
    wanted = [config.accessory(name)] if name is not None else known
    if not wanted:
        raise UsageError("no accessory of the file is backed up", hint="write `backups` into the file")
    return [(source_of(config, item), place_of(item, session.target)) for item in wanted]


def _production(session: Session, sources: Sequence[tuple[Source, str]]) -> Fleet:
    """Connections to the real hosts, although the command works on the lab."""
    from deployer.endpoint import endpoints
    from deployer.fleet import Fleet

    ends = endpoints(session.whole)
    names = {host: ends[host] for _, host in sources}
    return Fleet(names, session.context.console, session.whole.sshkit)


def _drill(
    session: Session, source: Source, machines: Fleet, host: str, hosts: Fleet | None, local: Path | None
) -> Drilled:
    from deployer.cli.backup import carry_out, pick, sent, there
    from deployer.commands import backup as commands
    from deployer.commands import drill as drills

    console, machine = session.context.console, machines[host]
    with tempfile.TemporaryDirectory(prefix="freehold-drill-") as folder:
        path = local
        if hosts is not None:
            newest = pick(there(session, source, hosts[host]), None, source.accessory)
            path = _fetched(session, source, hosts[host], newest, Path(folder))
        assert path is not None
        _boot(session, source, machines)
        carry_out(session, machine, drills.ready(source), f"Waiting for {source.accessory} in the lab")
        started = time.monotonic()
        with sent(machine, source, path) as (archive, place):
            script = commands.restore(source, archive, place)
            carry_out(session, machine, script, f"Restoring {archive.name} in the lab")
    carry_out(session, machine, drills.ready(source), f"Waiting for {source.accessory} in the lab")
    settings = session.whole.backups.get(source.accessory)
    script = drills.read_back(source, settings.drill if settings else None)
    result = carry_out(session, machine, script, f"Reading {source.accessory}")
    for line in result.lines("check"):
        console.info(f"  {line}")
    return Drilled(
        source.accessory,
        host,
        archive.moment,
        _age(archive),
        round(time.monotonic() - started),
        tuple(drills.parse_found(result.lines("read"))),
    )


def _fetched(session: Session, source: Source, remote: Remote, archive: Archive, folder: Path) -> Path:
    from deployer.cli.backup import fetch

    with session.context.console.step(f"Fetching {archive.name} from {remote.name}"):
        path = folder / archive.name
        fetch(remote, source, archive, path)
    return path


def _boot(session: Session, source: Source, machines: Fleet) -> None:
    """Start the lab's accessory where it has no container yet, and where it is stopped."""
    from deployer.cli.accessory import accessories_of
    from deployer.commands.accessorylook import Found

    work = accessories_of(session.context, session, machines)
    everywhere = work.placed([source.accessory])
    placed = {host: items for host, items in everywhere.items() if host in machines.remotes}
    work.boot(placed)
    stopped = {
        host: items
        for host, items in placed.items()
        if work.look({host: items})[host].get(source.accessory, Found()).state != "running"
    }
    if stopped:
        work.start(stopped)


def _age(archive: Archive) -> int | None:
    if archive.made is None:
        return None
    return max(0, round((datetime.datetime.now(datetime.UTC) - archive.made).total_seconds()))


def _report(context: Context, done: Sequence[Drilled]) -> None:
    console = context.console
    if console.json:
        console.data([vars(one) for one in done])
        return
    rows = [
        (
            one.accessory,
            one.backup or "-",
            "-" if one.age is None else f"{one.age // 3600} h",
            f"{one.seconds} s" if one.backup else "-",
            "; ".join(one.found) or one.error,
        )
        for one in done
    ]
    console.table(("accessory", "backup", "age", "restored in", "found"), rows)
    if not any(one.error for one in done):
        console.success(f"{len(done)} of {len(done)} backups can be restored and read")
