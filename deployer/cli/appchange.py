"""`freehold app boot`, `start`, `stop`."""

from __future__ import annotations

import dataclasses

import click

from deployer.cli.options import Target, changing
from freehold.command import Context


@click.command()
@changing
def boot(context: Context, target: Target, lock_wait: int) -> None:
    """Start a version (default: the one that serves) in new containers, with the configuration of now.

    Nothing is built or sent. Traffic changes over as in a deploy, and goes back as in one that fails.
    """
    from deployer.cli.deploy import run_deploy
    from deployer.cli.session import open_session
    from deployer.rollout import Rollout
    from freehold.errors import InputError

    session = open_session(context, target)
    if not target.version:
        with session.fleet() as fleet:
            facts = Rollout(session.config, fleet, context.console, "", session.who()).look()
        current = next((known.version for known in facts.values() if known.version), None)
        if current is None:
            raise InputError(
                "nothing has been deployed yet", hint="`freehold deploy`, or name a version with --version"
            )
        session = dataclasses.replace(session, target=dataclasses.replace(target, version=current))
    run_deploy(context, session, skip_push=True, registry=False, lock_wait=lock_wait, deploy_hooks=False)


@click.command()
@changing
def stop(context: Context, target: Target, lock_wait: int) -> None:
    """Stop the application's containers."""
    from deployer.cli.work import change
    from deployer.commands import app as commands

    change(
        context,
        target,
        "app stop",
        lock_wait,
        lambda session, host: commands.stop(session.config, session.config.roles_on(host)),
        "Stopping",
    )


@click.command()
@changing
def start(context: Context, target: Target, lock_wait: int) -> None:
    """Start the containers of the version that served last, and wait until they are healthy."""
    from deployer.cli.deploy import lock_held
    from deployer.cli.session import open_session
    from deployer.commands import app as commands
    from deployer.report import must
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
        must(scripts, fleet.run(scripts, "Starting", timeout=600), "app start")
