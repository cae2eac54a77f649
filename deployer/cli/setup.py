"""`freehold setup`: hosts prepared where they are not, then a deploy."""

from __future__ import annotations

import click

from deployer.cli.options import Target, lock_wait, no_cache, registry, skip_push, target_options
from freehold.command import Context, common_options, pass_context


@click.command()
@target_options
@skip_push
@no_cache
@registry
@lock_wait
@common_options
@pass_context
def setup(
    context: Context,
    target: Target,
    skip_push: bool,
    no_cache: bool,
    registry: bool | None,
    lock_wait: int,
) -> None:
    """Prepare the hosts that need it (Docker, proxy, users, firewall), start accessories, then deploy."""
    from deployer.cli.accessory import boot_all
    from deployer.cli.deploy import run_deploy
    from deployer.cli.server import bootstrap_hosts
    from deployer.cli.session import open_session
    from deployer.commands.facts import docker_step, proxy_step
    from deployer.script import Script

    session = open_session(context, target)
    with session.fleet() as fleet:
        question = Script((docker_step(), proxy_step()))
        scripts = dict.fromkeys(session.config.all_hosts, question)
        answers = fleet.run(scripts, "Which hosts are prepared", timeout=120)
        for error in answers.errors.values():
            raise error
        wanting = [host for host, result in answers.values.items() if not result.ok]
        if wanting:
            bootstrap_hosts(context, session, fleet, wanting)
            session.hooks.run("docker-setup", hosts=wanting, so_far="the hosts are prepared")
        if session.config.accessories:
            boot_all(context, session, fleet, lock_wait)
    run_deploy(
        context,
        session,
        skip_push=skip_push,
        no_cache=no_cache,
        registry=registry,
        lock_wait=lock_wait,
    )
