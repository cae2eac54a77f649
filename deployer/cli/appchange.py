"""`freehold app boot`, `start`, `stop`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.commands.facts import HostFacts


@click.command()
@changing
def boot(context: Context, target: Target, lock_wait: int) -> None:
    """Start a version (default: the one that serves) in new containers, with the configuration of now.

    Nothing is built or sent. Traffic changes over as in a deploy, and goes back as in one that fails.
    """
    from deployer.cli.deploy import run_deploy
    from deployer.cli.session import open_session
    from deployer.kept import common_version

    session = open_session(context, target)

    def choose(facts: Mapping[str, HostFacts]) -> str:
        return common_version(facts, session.config)

    run_deploy(
        context,
        session,
        skip_push=True,
        registry=False,
        lock_wait=lock_wait,
        deploy_hooks=False,
        why=f"app boot {target.version or ''}".rstrip(),
        choose=None if target.version else choose,
    )


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
        audit="stopped the application",
    )


@click.command()
@changing
def start(context: Context, target: Target, lock_wait: int) -> None:
    """Start the containers of each role's version that served last, and wait until they are healthy."""
    from deployer.cli.session import open_session
    from deployer.cli.work import facts_of, lock_held
    from deployer.commands import app as commands
    from deployer.commands import phases
    from deployer.report import summary, told
    from deployer.script import limit
    from freehold.errors import InputError

    session = open_session(context, target)
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, "app start", lock_wait):
        facts = facts_of(session, fleet)
        scripts = {}
        for host, known in facts.values.items():
            here = session.config.roles_on(host)
            serving = {role.name: target.version or known.serving(role.name) for role in here}
            versions = {name: version for name, version in serving.items() if version}
            if not versions:
                raise InputError(f"{host}: nothing has been deployed yet", hint="`freehold deploy`")
            roles = [role for role in here if role.name in versions]
            what = ", ".join(f"{name} {version}" for name, version in versions.items())
            starting = commands.start(session.config, roles, versions)
            scripts[host] = phases.audited(session.config, starting, f"{session.who()} started {what}")
        done = told(scripts, fleet.run(scripts, "Starting", timeout=limit(scripts, 600)))
    # A host that is down keeps no other from starting.
    errors = [*facts.errors.values(), *done.errors.values()]
    if errors:
        raise summary(errors, "app start") if errors[1:] else errors[0]
