"""`freehold registry …`: log this computer and the hosts in to the registry, and out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deployer.cli.options import Target, reading
from freehold.command import Context, Group

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.script import Script

F = TypeVar("F", bound=Callable[..., Any])


def of_both_sides(function: F) -> F:
    """The options of a command for this computer and the hosts."""
    decorated: Any = reading(function)
    decorated = click.option("-R", "--skip-remote", is_flag=True, help="Leave the hosts alone.")(decorated)
    option = click.option("-L", "--skip-local", is_flag=True, help="Leave this computer alone.")
    return option(decorated)  # type: ignore[no-any-return]


@click.group(cls=Group)
def registry() -> None:
    """Log in to the registry and out. A deploy logs in by itself, for as long as it needs to."""


@registry.command()
@of_both_sides
def setup(context: Context, target: Target, skip_local: bool, skip_remote: bool) -> None:
    """Log in; with Kamal's local registry nothing is to do, as images travel over SSH."""
    from deployer.cli.session import open_session

    session = open_session(context, target)
    if _is_local(session):
        context.console.info("no registry runs and none is needed: images travel over SSH")
        return
    _log_in(context, session, skip_local, skip_remote)


@registry.command()
@of_both_sides
def login(context: Context, target: Target, skip_local: bool, skip_remote: bool) -> None:
    """Log in to the registry, on this computer and on every host, until `logout`."""
    from deployer.cli.session import open_session

    session = open_session(context, target)
    _refuse_local(session)
    _log_in(context, session, skip_local, skip_remote)


@registry.command()
@of_both_sides
def logout(context: Context, target: Target, skip_local: bool, skip_remote: bool) -> None:
    """Log out of the registry, on this computer and on every host."""
    from deployer.cli.session import open_session

    session = open_session(context, target)
    _refuse_local(session)
    _log_out(context, session, skip_local, skip_remote)


@registry.command()
@of_both_sides
def remove(context: Context, target: Target, skip_local: bool, skip_remote: bool) -> None:
    """The opposite of `setup`: log out. What the registry holds stays there."""
    from deployer.cli.session import open_session

    session = open_session(context, target)
    if _is_local(session):
        context.console.info("no registry runs, so none is removed")
        return
    _log_out(context, session, skip_local, skip_remote)


def _is_local(session: Session) -> bool:
    registry = session.config.registry
    return registry is not None and registry.local


def _refuse_local(session: Session) -> None:
    from freehold.errors import UsageError

    if _is_local(session):
        raise UsageError(
            "the registry is this computer's own, which needs no login", hint="images travel over SSH"
        )


def _log_in(context: Context, session: Session, skip_local: bool, skip_remote: bool) -> None:
    from deployer.commands.registry import access, argument, login_script
    from deployer.engine import local_engine
    from deployer.images.push import push_hint
    from freehold.errors import ConfigError, FreeholdError, ProcessError
    from freehold.source import Location

    found = access(session.config)
    if found is None:
        raise ConfigError(
            "there are no credentials for a registry",
            where=Location(session.config.file, key="registry"),
            hint="write server, username and password under 'registry'",
        )
    name = found.server or "Docker Hub"
    if not skip_local:
        words = ("login", "--username", found.username.reveal(), "--password-stdin")
        try:
            # The client asks its engine which registries are reached without TLS.
            with local_engine(
                runner=context.runner, console=context.console, environ=context.environ
            ) as engine:
                argv = (engine.program, *words, *argument(found.server, program=engine.program))
                context.runner.run(argv, env=engine.env, stdin=found.password.reveal(), timeout=120)
        except ProcessError as exc:
            raise FreeholdError(
                f"this computer could not log in to {name}",
                details=exc.details,
                hint=push_hint(exc),
            ) from exc
        context.console.info(f"this computer is logged in to {name}")
    if not skip_remote:
        _on_hosts(session, login_script(found), f"Logging in to {name}")
    context.console.success(f"logged in to {name}")


def _log_out(context: Context, session: Session, skip_local: bool, skip_remote: bool) -> None:
    from deployer.commands.registry import argument, logout_script
    from freehold.environment import which

    server = session.config.registry.server if session.config.registry else None
    if not skip_local:
        program = "docker" if which("docker", context.environ) else "podman"
        argv = (program, "logout", *argument(server, program=program))
        context.runner.run(argv, check=False, timeout=120)
    if not skip_remote:
        _on_hosts(session, logout_script(server), f"Logging out of {server or 'Docker Hub'}")
    context.console.success(f"logged out of {server or 'Docker Hub'}")


def _on_hosts(session: Session, script: Script, title: str) -> None:
    """Run a script on every host that has images, those of accessories too."""
    from deployer.report import check, summary

    config = session.config
    hosts = [host for host in config.all_hosts if config.roles_on(host) or config.accessories_on(host)]
    with session.fleet_of(hosts) as fleet:
        scripts = dict.fromkeys(hosts, script)
        answers = fleet.run(scripts, title, timeout=120)
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, title) if errors[1:] else errors[0]
