"""`freehold upgrade`: hosts that Kamal 1 or 2 has set up come under Freehold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing, confirmed_option, rolling_option
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session


@click.command()
@rolling_option
@click.option("--check", is_flag=True, help="Say what is to do, and do nothing.")
@confirmed_option
@changing
def upgrade(
    context: Context, target: Target, rolling: bool, check: bool, confirmed: bool, lock_wait: int
) -> None:
    """Take hosts over from Kamal: its proxy stops, accessories stay, the running version starts anew.

    Says first what it found and what it is going to do. The old proxy's container stays, stopped; it
    runs again when the upgrade fails. Requests find nobody from its stop until the application serves.
    """
    from deployer.cli.accessory import accessories_of
    from deployer.cli.server import bootstrap_hosts
    from deployer.cli.session import open_session
    from deployer.cli.work import confirm
    from deployer.takeover import Takeover

    session = open_session(context, target, accessories=True)
    with session.fleet() as fleet:
        work = Takeover(session.config, fleet, context.console, accessories_of(context, session, fleet))
        plans = work.look()
        if context.console.json:
            context.console.data({host: plan.lines() for host, plan in plans.items()})
        else:
            for host, plan in plans.items():
                context.console.print(host)
                for line in plan.lines():
                    context.console.print(f"  {line}")
        todo = {host: plan for host, plan in plans.items() if not plan.done}
        if check or not todo:
            return
        confirm("Upgrade these hosts?", confirmed)
        groups = [{host: plan} for host, plan in todo.items()] if rolling else [todo]
        for group in groups:
            work.carry_out(
                group,
                lambda hosts: bootstrap_hosts(context, session, fleet, hosts),
                lambda hosts, version: _boot(context, session, hosts, version, lock_wait),
            )
    kept = sorted({proxy.name for plan in todo.values() for proxy in plan.old})
    context.console.success(f"upgraded {', '.join(todo)}")
    if kept:
        context.console.info(f"when all is well: `freehold server exec 'docker rm {' '.join(kept)}'`")


def _boot(context: Context, session: Session, hosts: Sequence[str], version: str, wait: int) -> None:
    """Start a version that is on these hosts behind Freehold's proxy."""
    from deployer.cli.deploy import run_deploy

    narrowed = dataclasses.replace(
        session,
        config=session.config.select(hosts=hosts),
        target=dataclasses.replace(session.target, version=version),
    )
    run_deploy(context, narrowed, skip_push=True, lock_wait=wait)
