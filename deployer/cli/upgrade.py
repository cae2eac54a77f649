"""`freehold upgrade`: hosts that Kamal 1 or 2 has set up come under Freehold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing, confirmed_option, rolling_option
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.takeover import HostPlan


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
    from freehold.errors import UsageError

    session = open_session(context, target, accessories=True)
    with session.fleet() as fleet:
        work = Takeover(session.config, fleet, context.console, accessories_of(context, session, fleet))
        plans = work.look()
        todo = {host: plan for host, plan in plans.items() if not plan.done}
        idle = check or not todo
        if not context.console.json:
            _show(context.console.print, plans)
        elif not (idle or confirmed):
            # Whoever is asked has to see what for; the document comes at the end.
            _show(partial(click.echo, err=True), plans)
        if idle:
            if context.console.json:
                context.console.data(_data(plans, done=not todo))
            return
        for host, plan in todo.items():
            if plan.deserted and not confirmed:
                raise UsageError(
                    f"{host}: the old proxy may serve {', '.join(plan.deserted)} too, which nobody reaches "
                    "once it has stopped",
                    hint="`freehold upgrade -y` stops it all the same; upgrade the others right after",
                )
        confirm("Upgrade these hosts?", confirmed)
        groups = [{host: plan} for host, plan in todo.items()] if rolling else [todo]
        for group in groups:
            work.carry_out(
                group,
                lambda hosts: bootstrap_hosts(context, session, fleet, hosts),
                lambda hosts, version: _boot(context, session, hosts, version, lock_wait),
            )
    if context.console.json:
        context.console.data(_data(plans, done=True))
    kept = sorted({proxy.name for plan in todo.values() for proxy in plan.old or plan.stopped})
    context.console.success(f"upgraded {', '.join(todo)}")
    if kept:
        context.console.info(f"when all is well: `freehold server exec 'docker rm {' '.join(kept)}'`")


def _show(say: Callable[[str], None], plans: Mapping[str, HostPlan]) -> None:
    for host, plan in plans.items():
        say(host)
        for line in plan.lines():
            say(f"  {line}")


def _data(plans: Mapping[str, HostPlan], *, done: bool) -> dict[str, dict[str, object]]:
    """What was found and is to do, or was done, by host."""
    return {
        host: {
            "todo": [] if plan.done else plan.lines(),
            "version": plan.version,
            "proxies": [proxy.name for proxy in plan.old],
            "deserted": list(plan.deserted),
            "done": done or plan.done,
        }
        for host, plan in plans.items()
    }


def _boot(context: Context, session: Session, hosts: Sequence[str], version: str, wait: int) -> None:
    """Start a version that is on these hosts behind Freehold's proxy."""
    from deployer.cli.deploy import run_deploy

    narrowed = dataclasses.replace(
        session,
        config=session.config.select(hosts=hosts),
        target=dataclasses.replace(session.target, version=version),
    )
    run_deploy(context, narrowed, skip_push=True, lock_wait=wait, tell=not context.console.json)
