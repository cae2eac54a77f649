"""`freehold accessory …`: databases and other services beside the application."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing, confirmed_option, rolling_option
from freehold.command import Context, LazyGroup

if TYPE_CHECKING:
    from deployer.accessories import Accessories, Placed
    from deployer.cli.session import Session
    from deployer.fleet import Fleet

ALL = "all"

name_argument = click.argument("name")
any_name = click.argument("name", default=ALL)


@click.group(
    cls=LazyGroup,
    lazy={
        "details": ("deployer.cli.accessoryread:details", "Show the container of NAME, or of all."),
        "exec": ("deployer.cli.accessoryread:exec_", "Run COMMAND in a container of the accessory NAME."),
        "logs": ("deployer.cli.accessoryread:logs", "Show what the accessory NAME writes."),
    },
)
def accessory() -> None:
    """Run databases and other services beside the application."""


@contextlib.contextmanager
def opened(
    context: Context, target: Target, name: str, *, lock: str = "", wait: int = 0
) -> Iterator[tuple[Session, Accessories, Placed]]:
    """The accessories of that name (or all) on the hosts asked for; under the lock where it has a reason."""
    from deployer.cli.session import open_session
    from deployer.cli.work import lock_held

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
    from deployer.cli.work import lock_held

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


@accessory.command("upload", hidden=True)
@any_name
@changing
def upload(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Write the files of NAME, or of all, to its hosts; containers stay as they are."""
    with opened(context, target, name, lock=f"accessory upload {name}", wait=lock_wait) as (_, work, placed):
        work.upload(placed)
    context.console.success(f"uploaded the files of {name}")


@accessory.command("directories", hidden=True)
@any_name
@changing
def directories(context: Context, name: str, target: Target, lock_wait: int) -> None:
    """Make the directories of NAME, or of all, on its hosts."""
    why = f"accessory directories {name}"
    with opened(context, target, name, lock=why, wait=lock_wait) as (_, work, placed):
        work.directories(placed)
    context.console.success(f"made the directories of {name}")


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
