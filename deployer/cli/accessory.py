"""`freehold accessory …`: databases and other services beside the application."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deployer.cli.options import Target, lock_wait, target_options
from freehold.command import Context, common_options, pass_context

if TYPE_CHECKING:
    from deployer.accessories import Accessories, Placed
    from deployer.cli.session import Session
    from deployer.fleet import Fleet

F = TypeVar("F", bound=Callable[..., Any])
ALL = "all"

name_argument = click.argument("name")
any_name = click.argument("name", default=ALL)
confirmed_option = click.option("-y", "--confirmed", is_flag=True, help="Do not ask.")
rolling_option = click.option("--rolling", is_flag=True, help="One host after the other.")


@click.group()
def accessory() -> None:
    """Run databases and other services beside the application."""


def changing(function: F) -> F:
    """The options of a command that changes something."""
    decorated: Any = function
    for option in (pass_context, common_options, lock_wait, target_options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def reading(function: F) -> F:
    """The options of a command that only looks."""
    decorated: Any = function
    for option in (pass_context, common_options, target_options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


@contextlib.contextmanager
def opened(
    context: Context, target: Target, name: str, *, lock: str = "", wait: int = 0
) -> Iterator[tuple[Session, Accessories, Placed]]:
    """The accessories of that name (or all) on the hosts asked for; under the lock where it has a reason."""
    from deployer.cli.deploy import lock_held
    from deployer.cli.session import open_session

    session = open_session(context, target, accessories=True)
    with session.fleet() as fleet:
        work = accessories_of(context, session, fleet)
        placed = place(session, work, name)
        if not lock:
            yield session, work, placed
            return
        with lock_held(context, session, fleet, lock, wait):
            yield session, work, placed


def accessories_of(context: Context, session: Session, fleet: Fleet) -> Accessories:
    """What handles the accessories of a session."""
    from deployer.accessories import Accessories

    return Accessories(
        session.config,
        fleet,
        context.console,
        context.runner,
        session.who(),
        session.root,
        context.environ,
    )


def place(session: Session, work: Accessories, name: str) -> Placed:
    """Where the accessory of that name is; UsageError where there is none, or none on these hosts."""
    from freehold.errors import UsageError

    if not session.whole.accessories:
        raise UsageError(f"{session.whole.file} names no accessories", hint="write them under 'accessories'")
    if name != ALL:
        session.whole.accessory(name)
    names = [item.name for item in session.whole.accessories] if name == ALL else [name]
    placed = work.placed(names)
    if not placed:
        raise UsageError(f"{name} runs on none of the hosts asked for")
    return placed


@accessory.command()
@any_name
@changing
def boot(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Start the accessory NAME, or all, where it has no container yet."""
    with opened(context, target, name, lock=f"accessory boot {name}", wait=lock_wait) as (_, work, placed):
        started = work.boot(placed)
    if context.console.json:
        context.console.data({"booted": started})
    else:
        count = sum(len(names) for names in started.values())
        context.console.success(f"booted {count}" if count else "nothing to boot")


def boot_all(context: Context, session: Session, fleet: Fleet, wait: int) -> None:
    """Start every accessory that has no container, before the application's first deploy."""
    from deployer.cli.deploy import lock_held

    with lock_held(context, session, fleet, "accessory boot all", wait):
        work = accessories_of(context, session, fleet)
        work.boot(work.placed([item.name for item in session.config.accessories]))


@accessory.command()
@any_name
@changing
def reboot(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Replace the container of NAME, or of all: newest image, configuration as it is now.

    When the new container does not come up, the old one runs again.
    """
    with opened(context, target, name, lock=f"accessory reboot {name}", wait=lock_wait) as (_, work, placed):
        work.reboot(placed)
    context.console.success(f"rebooted {name}")


@accessory.command()
@name_argument
@changing
def start(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Start the stopped container of NAME, or of all."""
    with opened(context, target, name, lock=f"accessory start {name}", wait=lock_wait) as (_, work, placed):
        work.start(placed)
    context.console.success(f"started {name}")


@accessory.command()
@name_argument
@changing
def stop(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Stop the container of NAME, or of all."""
    with opened(context, target, name, lock=f"accessory stop {name}", wait=lock_wait) as (_, work, placed):
        work.stop(placed)
    context.console.success(f"stopped {name}")


@accessory.command()
@name_argument
@changing
def restart(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Stop and start the container of NAME, or of all."""
    with opened(context, target, name, lock=f"accessory restart {name}", wait=lock_wait) as (_, work, placed):
        work.restart(placed)
    context.console.success(f"restarted {name}")


@accessory.command("pull_image")
@any_name
@changing
def pull_image(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Get the image of NAME, or of all, onto its hosts. `reboot` uses it."""
    with opened(context, target, name, lock=f"accessory pull {name}", wait=lock_wait) as (_, work, placed):
        work.pull(placed)
    context.console.success(f"pulled {name}")


@accessory.command()
@any_name
@reading
def details(context: Context, name: str, target: Target) -> None:
    """Show the container of NAME, or of all."""
    from deployer.cli.work import rows

    with opened(context, target, name) as (_, work, placed):
        rows(context, DETAILS, detail_rows(work, placed))


DETAILS = ("host", "accessory", "state", "status", "image", "container")


def detail_rows(work: Accessories, placed: Placed) -> list[tuple[str, ...]]:
    """One row for each accessory and host."""
    from deployer.commands.accessory import Found

    found = work.look(placed)
    shown: list[tuple[str, ...]] = []
    for host, items in placed.items():
        for item in items:
            known = found[host].get(item.name, Found())
            image = known.container_image or item.image
            shown.append((host, item.name, known.state or "missing", known.status, image, item.service))
    return shown


@accessory.command("exec")
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on the first host.")
@click.option("--reuse", is_flag=True, help="In the container that runs instead of a new one.")
@click.option("--raw", is_flag=True, help="Output as it is, byte by byte, from the first host.")
@name_argument
@click.argument("command", nargs=-1, required=True)
@reading
def exec_(
    context: Context,
    name: str,
    command: tuple[str, ...],
    target: Target,
    interactive: bool,
    reuse: bool,
    raw: bool,
) -> int:
    """Run COMMAND in a container of the accessory NAME; its exit code is this command's."""
    from deployer.cli import work as shared
    from deployer.commands import accessory as commands
    from freehold.errors import UsageError

    if raw and interactive:
        raise UsageError("--raw and --interactive exclude each other")
    line = command[0] if len(command) == 1 else shlex.join(command)
    piped = raw and not sys.stdin.isatty()
    with opened(context, target, name) as (session, work, placed):
        item = session.config.accessory(name)
        if reuse:
            text = commands.exec_reuse(item, line, terminal=interactive, stdin=piped)
        else:
            text = commands.exec_new(item, line, terminal=interactive, stdin=piped)
        first = next(iter(placed))
        if interactive:
            from deployer.terminal import interactive as join

            context.console.info(f"{first}: {line}")
            return join(work.fleet[first], shared.bash(text))
        if raw:
            return shared.raw(work.fleet, first, text)
        return shared.follow_all(context, work.fleet, [(host, text) for host in placed])


@accessory.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Lines per host (default: 100, with a grep all).")
@click.option("-s", "--since", help="Only since then: 10m, 2h, 2026-01-31T12:00:00Z.")
@click.option("-g", "--grep", help="Only lines that match this pattern.")
@click.option("-o", "--grep-options", help="Options for grep.")
@click.option("-T", "--skip-timestamps", is_flag=True, help="No timestamps.")
@name_argument
@reading
def logs(
    context: Context,
    name: str,
    target: Target,
    follow: bool,
    lines: int | None,
    since: str | None,
    grep: str | None,
    grep_options: str | None,
    skip_timestamps: bool,
) -> int:
    """Show what the accessory NAME writes."""
    from deployer.cli.work import follow_all
    from deployer.commands import accessory as commands

    if lines is None and not since and not grep:
        lines = 10 if follow else 100
    with opened(context, target, name) as (session, work, placed):
        text = commands.logs_command(
            session.config.accessory(name),
            follow=follow,
            lines=lines,
            since=since,
            grep=grep,
            grep_options=grep_options,
            timestamps=not skip_timestamps,
        )
        return follow_all(context, work.fleet, [(host, text) for host in placed])


@accessory.command()
@confirmed_option
@name_argument
@changing
def remove(context: Context, name: str, target: Target, confirmed: bool, lock_wait: int) -> None:
    """Remove the container, the image and the directory of NAME, or of all, from its hosts.

    Its directory below the user's home goes with all data in it. Named volumes and directories with an
    absolute path stay.
    """
    _remove(context, target, name, "container, image and data directory", confirmed, lock_wait)


def _remove(
    context: Context, target: Target, name: str, what: str, confirmed: bool, wait: int, **parts: bool
) -> None:
    from deployer.cli.work import confirm

    confirm(f"Remove {what} of {'all accessories' if name == ALL else name}?", confirmed)
    with opened(context, target, name, lock=f"accessory remove {name}", wait=wait) as (_, work, placed):
        work.remove(placed, **parts)
    context.console.success(f"removed {name}")


@accessory.command("remove_container", hidden=True)
@name_argument
@changing
def remove_container(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Remove the container of NAME; its data stay."""
    _remove(context, target, name, "", True, lock_wait, image=False, directory=False)


@accessory.command("remove_image", hidden=True)
@name_argument
@changing
def remove_image(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Remove the image of NAME."""
    _remove(context, target, name, "", True, lock_wait, container=False, directory=False)


@accessory.command("remove_service_directory", hidden=True)
@confirmed_option
@name_argument
@changing
def remove_service_directory(
    context: Context, name: str, target: Target, confirmed: bool, lock_wait: int
) -> None:
    """Remove the files and the data directory of NAME."""
    _remove(context, target, name, "the data directory", confirmed, lock_wait, container=False, image=False)


@accessory.command()
@rolling_option
@confirmed_option
@any_name
@changing
def upgrade(
    context: Context, name: str, target: Target, rolling: bool, confirmed: bool, lock_wait: int
) -> None:
    """Start NAME, or all, anew in the application's network, as after a change from Kamal."""
    from deployer.cli.work import confirm

    confirm("Restart the accessories?", confirmed)
    with opened(context, target, name, lock="accessory upgrade", wait=lock_wait) as (_, work, placed):
        groups = [{host: items} for host, items in placed.items()] if rolling else [dict(placed)]
        for group in groups:
            work.reboot(group)
    context.console.success(f"upgraded {name}")
