"""`freehold backup …`: dumps of databases and files of accessories, on their host and fetched from it."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli.drill import drill
from deployer.cli.options import Target, confirmed_option, reading
from freehold.command import Context, Group

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.commands.backup import Archive, Source
    from deployer.config import Accessory, DeployConfig
    from deployer.remote import Remote
    from deployer.script import Script, ScriptResult

DEADLINE = 6 * 3600.0
CHUNK = 1 << 20


@click.group(cls=Group)
def backup() -> None:
    """Back up accessories and restore them: Postgres, MySQL, SQLite, directories."""


backup.add_command(drill)


@backup.command()
@click.argument("name")
@reading
def create(context: Context, name: str, target: Target) -> None:
    """Back up the accessory NAME while it runs; the backup is checked before it counts."""
    from freehold.console import size

    with opened(context, target, name) as (session, source, remote):
        archive = make(session, source, remote)
        if context.console.json:
            context.console.data(vars(archive))
        else:
            context.console.success(f"{remote.name}: {archive.name} ({size(archive.size)})")


@backup.command("list")
@click.argument("name")
@reading
def list_(context: Context, name: str, target: Target) -> None:
    """Show the backups of the accessory NAME, the oldest first."""
    from freehold.console import size

    with opened(context, target, name) as (session, source, remote):
        found = there(session, source, remote)
    if context.console.json:
        context.console.data([vars(archive) for archive in found])
        return
    rows = [(archive.time, archive.kind, size(archive.size), archive.sum[:12]) for archive in found]
    context.console.table(("backup", "kind", "size", "sha256"), rows)


@backup.command()
@click.argument("name")
@click.argument("which", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it.")
@reading
def get(context: Context, name: str, which: str | None, output: Path | None, target: Target) -> None:
    """Fetch a backup of the accessory NAME to this computer (default: the newest)."""
    with opened(context, target, name) as (session, source, remote):
        archive = pick(there(session, source, remote), which, name)
        path = output or context.root / archive.name
        fetch(remote, source, archive, path)
    if context.console.json:
        context.console.data({**vars(archive), "path": str(path)})
        return
    context.console.success(f"{path} ({archive.sum[:12]})")


@backup.command()
@click.argument("name")
@click.argument("which", required=False)
@click.option(
    "--file",
    "local",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A backup on this computer, as `get` fetched it.",
)
@confirmed_option
@click.option("--no-backup", is_flag=True, help="Do not back up what is there now first.")
@reading
def restore(
    context: Context,
    name: str,
    which: str | None,
    local: Path | None,
    confirmed: bool,
    no_backup: bool,
    target: Target,
) -> None:
    """Restore the accessory NAME from a backup (default: the newest); what is there now is backed up first.

    A Postgres database is restored beside the one in use and takes its place once it is complete.
    """
    from deployer.cli.work import confirm
    from deployer.commands import backup as commands
    from deployer.commands import phases

    with opened(context, target, name) as (session, source, remote), contextlib.ExitStack() as stack:
        path = None
        if local is not None:
            archive, path = stack.enter_context(sent(remote, source, local))
        else:
            archive = pick(there(session, source, remote), which, name)
        confirm(f"Replace what {name} holds on {remote.name} by {archive.name}?", confirmed)
        if not no_backup:
            make(session, source, remote, prune=False)
        line = f"{session.who()} restored {name} from {archive.name}"
        script = phases.audited(session.whole, commands.restore(source, archive, path), line)
        result = carry_out(session, remote, script, f"Restoring {archive.name}")
    for line in result.lines("restore"):
        if line.startswith("restored: "):
            context.console.info(line)
    context.console.success(f"{name} on {remote.name} is as it was at {archive.moment}")


@contextlib.contextmanager
def opened(context: Context, target: Target, name: str) -> Iterator[tuple[Session, Source, Remote]]:
    """The session, what is to be backed up, and its host."""
    from deployer.cli.session import open_session

    session = open_session(context, target, accessories=True)
    accessory = session.whole.accessory(name)
    source, host = source_of(session.whole, accessory), place_of(accessory, target)
    with session.fleet_of([host]) as fleet:
        yield session, source, fleet[host]


def source_of(config: DeployConfig, accessory: Accessory) -> Source:
    """What is backed up of an accessory; UsageError where nobody knows."""
    from deployer.commands.backup import Source
    from deployer.config.backups import BackupSettings, kind_of
    from freehold.errors import UsageError

    name = accessory.name
    settings = config.backups.get(name, BackupSettings())
    kind = kind_of(accessory.image, settings)
    if kind is None:
        raise UsageError(
            f"nobody knows what the accessory {name!r} holds (its image is {accessory.image})",
            hint=f"write backups: {{{name}: {{kind: postgres}}}} (or mysql, sqlite, volume) in the file",
        )
    return Source(name, accessory.service, kind, settings.path or "", settings.keep, settings.pause)


def place_of(accessory: Accessory, target: Target) -> str:
    """The one host that is meant; UsageError where it is more or none."""
    from deployer.config.pattern import matching
    from freehold.errors import UsageError

    chosen = matching(target.hosts or ("*",), accessory.hosts)
    if len(chosen) != 1:
        raise UsageError(
            f"the accessory {accessory.name!r} runs on {', '.join(accessory.hosts)}",
            hint="choose one with -h",
        )
    return chosen[0]


def carry_out(session: Session, remote: Remote, script: Script, title: str) -> ScriptResult:
    """Run a script; raise what its failed step says."""
    from deployer.report import step_error

    console = session.context.console
    with console.step(title):
        result = remote.run(script, timeout=DEADLINE, on_line=lambda _, line: console.detail(line))
        if not result.ok:
            raise step_error(script, result)
    return result


def make(session: Session, source: Source, remote: Remote, *, prune: bool = True) -> Archive:
    """Back up now."""
    from deployer.commands import backup as commands

    script = commands.create(source, _stamp(), prune=prune)
    result = carry_out(session, remote, script, f"Backing up {source.accessory} on {remote.name}")
    return commands.parse_archives(result.lines("dump"))[-1]


def _stamp() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")[:-3] + "Z"


def there(session: Session, source: Source, remote: Remote) -> list[Archive]:
    """The backups on the host."""
    from deployer.commands import backup as commands
    from deployer.report import step_error

    script = commands.listing(source)
    result = remote.run(script, timeout=120)
    if not result.ok:
        raise step_error(script, result)
    return commands.parse_archives(result.lines("list"))


def pick(found: list[Archive], which: str | None, name: str) -> Archive:
    """The backup whose time or name begins with `which`; the newest without it."""
    from freehold.errors import UsageError

    wanted = [archive for archive in found if which is None or archive.name.startswith(which)]
    if not wanted:
        times = ", ".join(archive.time for archive in found) or "none"
        raise UsageError(f"there is no such backup of {name}", hint=f"there are: {times}")
    return wanted[-1]


def fetch(remote: Remote, source: Source, archive: Archive, path: Path) -> None:
    """Copy a backup here, checked by its sum; the file appears once it is whole."""
    from freehold.errors import HostError

    partial = path.with_name(f".{path.name}.new")
    total = hashlib.sha256()
    command = f"cat {shlex.quote(f'{source.directory}/{archive.name}')}"
    try:
        partial.touch(mode=0o600)
        with partial.open("wb") as stream, remote.open_channel(command) as channel:
            channel.settimeout(120)
            while data := channel.recv(CHUNK):
                stream.write(data)
                total.update(data)
            code = channel.recv_exit_status()
        if code != 0:
            raise HostError(
                f"{archive.name} cannot be read", host=remote.name, hint="its maker may read it, and root"
            )
        if total.hexdigest() != archive.sum:
            raise HostError("the backup did not arrive whole", host=remote.name, hint="run again")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def sent(remote: Remote, source: Source, path: Path) -> Iterator[tuple[Archive, str]]:
    """A backup of this computer on the host while the block runs, and where: it does not join those there.

    Its name is the user's, and may be any that tells the kind.
    """
    from deployer.commands import backup as commands
    from freehold.errors import HostError, UsageError

    kind = path.name.split(".")[-3] if path.name.endswith(".tar.gz") and path.name.count(".") > 2 else ""
    if kind != source.kind:
        raise UsageError(
            f"{path} is no backup of kind {source.kind}",
            hint=f"its name ends with .{source.kind}.tar.gz, as that of a file of `get` does",
        )
    with path.open("rb") as stream:
        total = hashlib.file_digest(stream, "sha256").hexdigest()
    place, receive = commands.upload(source, _stamp())
    try:
        with path.open("rb") as stream:
            code, output = remote.feed(receive, iter(lambda: stream.read(CHUNK), b""))
        if code != 0:
            raise HostError(f"the backup cannot be stored: {output.strip()}", host=remote.name)
        yield commands.Archive(path.name, kind, path.stat().st_size, total), place
    finally:
        # Of a host that is lost, the next upload clears it away.
        with contextlib.suppress(HostError):
            remote.exec(shlex.join(["rm", "-f", place]), timeout=60)
