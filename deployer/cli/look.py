"""Reading commands at the top: `details`, `audit`, `config`, and `lock`."""

from __future__ import annotations

import click

from deployer.cli.options import Target, reading
from freehold.command import Context


@click.command()
@reading
def details(context: Context, target: Target) -> None:
    """Show what runs on every host: version, containers, target of the proxy; and the accessories."""
    from deployer.cli.accessory import accessories_of
    from deployer.cli.session import open_session
    from deployer.commands.accessorylook import Found
    from deployer.rollout import Rollout

    session = open_session(context, target)
    with session.fleet() as fleet:
        facts = Rollout(session.config, fleet, context.console, "", session.who()).look()
        work = accessories_of(context, session, fleet)
        placed = work.placed([item.name for item in session.config.accessories])
        beside = work.look(placed) if placed else {}
    fields = ("host", "role", "version", "state", "serves", "container", "status")
    rows = []
    for host, known in facts.items():
        for container in known.containers:
            role = next((r for r in session.whole.roles if r.name == container.role), None)
            serves = container.running and container.version == known.version
            if role is not None and role.proxy is not None:
                dialled = known.targets.get(session.whole.container_prefix(role), "")
                serves = bool(container.address) and dialled.partition(":")[0] == container.address
            rows.append(
                (
                    host,
                    container.role,
                    container.version,
                    container.state,
                    "yes" if serves else "",
                    container.name,
                    container.status,
                )
            )
    for host, items in placed.items():
        for item in items:
            there = beside[host].get(item.name, Found())
            state = there.state or "missing"
            rows.append((host, f"accessory {item.name}", "", state, "", item.service, there.status))
    if context.console.json:
        context.console.data([dict(zip(fields, row, strict=True)) for row in rows])
    else:
        context.console.table(fields, rows)


@click.command()
@click.option("-n", "--lines", default=50, type=click.IntRange(1), show_default=True, help="Lines per host.")
@reading
def audit(context: Context, target: Target, lines: int) -> None:
    """Show who did what, from the audit log of every host."""
    from deployer.cli.app import ask
    from deployer.cli.session import open_session
    from deployer.commands import app as commands

    session = open_session(context, target)
    results = ask(session, lambda host: commands.audit(session.config, lines), "Looking", "audit")
    if context.console.json:
        context.console.data({host: list(result.lines("audit")) for host, result in results.items()})
        return
    for host, result in results.items():
        for line in result.lines("audit"):
            context.console.print(f"{context.console.host_label(host)} {line}")


@click.group()
def lock() -> None:
    """The lock on deploys of this service and destination."""


@lock.command()
@reading
def status(context: Context, target: Target) -> None:
    """Show who holds the lock, why and since when."""
    from deployer.cli.session import open_session
    from deployer.commands import lock as commands
    from deployer.report import step_error
    from deployer.script import Script, Step

    session = open_session(context, target)
    script = Script((Step("lock", commands.status_fragment(session.whole.name)),))
    with session.fleet() as fleet:
        result = fleet[session.whole.lock_host].run(script, timeout=60)
    if not result.ok:
        raise step_error(script, result)
    rows = []
    for line in result.lines("lock"):
        kind, _, owner = line.partition("\t")
        found = commands.parse_owner(owner)
        rows.append((kind, found.get("by", ""), found.get("since", ""), found.get("why", "")))
    fields = ("kind", "by", "since", "why")
    if context.console.json:
        context.console.data([dict(zip(fields, row, strict=True)) for row in rows])
    elif rows:
        context.console.table(fields, rows)
    else:
        context.console.print("free")


@lock.command()
@click.option("-m", "--message", required=True, help="Why.")
@reading
def acquire(context: Context, target: Target, message: str) -> None:
    """Take the lock for maintenance; it stays until it is released."""
    from deployer.cli.session import open_session
    from deployer.commands import lock as commands
    from deployer.script import Script, Step
    from freehold.errors import LockedError

    session = open_session(context, target)
    owner = commands.owner_line(session.who(), message, session.now())
    script = Script((Step("lock", commands.acquire_fragment(session.whole.name, owner)),))
    with session.fleet() as fleet:
        result = fleet[session.whole.lock_host].run(script, timeout=60)
    if not result.ok:
        found = commands.parse_owner(result.lines("lock")[-1] if result.lines("lock") else "")
        raise LockedError(
            f"locked already by {found.get('by', 'somebody')}: {found.get('why', '')}",
            hint="`freehold lock release` frees it",
        )
    context.console.success("locked")


@lock.command()
@reading
def release(context: Context, target: Target) -> None:
    """Give the lock back."""
    from deployer.cli.session import open_session
    from deployer.commands import lock as commands
    from deployer.report import step_error
    from deployer.script import Script, Step

    session = open_session(context, target)
    script = Script((Step("lock", commands.release_fragment(session.whole.name)),))
    with session.fleet() as fleet:
        result = fleet[session.whole.lock_host].run(script, timeout=60)
    if not result.ok:
        raise step_error(script, result)
    context.console.success("released")
