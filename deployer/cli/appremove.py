"""`freehold app remove`, `remove_container`, `remove_containers`, `remove_images`; `freehold remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing, confirmed_option
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.script import Script


def removal(session: Session, host: str) -> Script:
    """Everything of the application on a host; its images and files only with the last of its roles."""
    from deployer.commands import app as commands
    from deployer.commands import phases

    roles, all_roles = session.config.routed_on(host), session.whole.routed_on(host)
    if len(roles) == len(all_roles):
        return commands.remove(session.config, roles)
    names = ", ".join(role.name for role in roles)
    partly = commands.remove(session.config, roles, everything=False)
    return phases.audited(session.config, partly, f"{session.who()} removed {names}")


@click.command()
@confirmed_option
@changing
def remove(context: Context, target: Target, confirmed: bool, lock_wait: int) -> None:
    """Remove the application from the hosts: routes, containers, images, files. Accessories stay."""
    from deployer.cli.work import change, confirm

    confirm("Remove the application, its images and its history from the hosts?", confirmed)
    change(context, target, "app remove", lock_wait, removal, "Removing", routed=True)
    context.console.success("removed the application")


@click.command("remove_container")
@click.argument("version")
@changing
def remove_container(context: Context, version: str, target: Target, lock_wait: int) -> None:
    """Remove the container of VERSION, which must not run."""
    from deployer.cli.work import change
    from deployer.commands import app as commands

    change(
        context,
        target,
        f"app remove_container {version}",
        lock_wait,
        lambda session, host: commands.remove_container(
            session.config, session.config.roles_on(host), version
        ),
        "Removing",
        audit=f"removed the container of {version}",
    )


@click.command("remove_containers")
@changing
def remove_containers(context: Context, target: Target, lock_wait: int) -> None:
    """Remove every container of the application that does not run; there is no rollback to them then."""
    from deployer.cli.work import change
    from deployer.commands import app as commands

    change(
        context,
        target,
        "app remove_containers",
        lock_wait,
        lambda session, host: commands.remove_containers(session.config, session.config.roles_on(host)),
        "Removing",
        audit="removed the containers that do not run",
    )


@click.command("remove_images")
@changing
def remove_images(context: Context, target: Target, lock_wait: int) -> None:
    """Remove every image of the application that no container uses."""
    from deployer.cli.work import change
    from deployer.commands import app as commands

    change(
        context,
        target,
        "app remove_images",
        lock_wait,
        lambda session, host: commands.remove_images(session.config),
        "Removing",
        audit="removed the images",
    )


@click.command("remove_app_directories")
@changing
def remove_app_directories(context: Context, target: Target, lock_wait: int) -> None:
    """Remove what the hosts keep of the application besides containers: environments, assets, history."""
    from deployer.cli.work import change
    from deployer.commands import app as commands

    change(
        context,
        target,
        "app remove_app_directories",
        lock_wait,
        lambda session, host: commands.remove_files(session.config),
        "Removing",
    )


@click.command("remove")
@confirmed_option
@changing
def remove_all(context: Context, target: Target, confirmed: bool, lock_wait: int) -> None:
    """Remove the service from its hosts: the application, its routes, and all accessories with their data.

    The proxy, Docker, named volumes and directories with an absolute path stay.
    """
    from deployer.cli.accessory import accessories_of
    from deployer.cli.session import open_session
    from deployer.cli.work import confirm, lock_held
    from deployer.report import must
    from deployer.script import limit

    session = open_session(context, target, accessories=True)
    config = session.config
    hosts = ", ".join(config.all_hosts)
    names = ", ".join(item.name for item in config.accessories)
    what = f"the application {config.name}" + (f" and the accessories {names}, data too," if names else "")
    confirm(f"Remove {what} from {hosts}?", confirmed)
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, "remove", lock_wait):
        # The application last: what was done to its accessories stands in its audit log.
        work = accessories_of(context, session, fleet)
        placed = work.placed([item.name for item in config.accessories])
        if placed:
            work.remove(placed)
        scripts = {host: removal(session, host) for host in config.all_hosts}
        must(scripts, fleet.run(scripts, "Removing the application", timeout=limit(scripts, 600)), "remove")
    context.console.success(f"removed {config.name}")
