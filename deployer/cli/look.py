"""Reading commands at the top: `details`, `audit`, `config`, and `lock`."""

from __future__ import annotations

import click

from deployer.cli.options import Target, changing, reading
from freehold.command import Context, Group


@click.command()
@reading
def details(context: Context, target: Target) -> int:
    """Show what runs on every host: version, containers, target of the proxy; and the accessories.

    Exit code 1 where a host cannot be asked.
    """
    from deployer.cli.accessory import accessories_of
    from deployer.cli.session import open_session
    from deployer.cli.work import facts_of, rows
    from deployer.commands.accessorylook import Found

    session = open_session(context, target)
    with session.fleet() as fleet:
        facts = facts_of(session, fleet)
        work = accessories_of(context, session, fleet)
        placed = work.placed([item.name for item in session.config.accessories])
        beside = work.seen(placed)
    fields = ("host", "role", "version", "state", "serves", "container", "status")
    shown = []
    for host, known in facts.values.items():
        for container in known.containers:
            role = next((r for r in session.whole.roles if r.name == container.role), None)
            serves = container.running and container.version == known.serving(container.role)
            if role is not None and role.proxy is not None:
                dialled = known.targets.get(session.whole.container_prefix(role), "")
                serves = bool(container.address) and dialled.partition(":")[0] == container.address
            shown.append(
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
    for host, items in beside.values.items():
        for item in placed[host]:
            there = items.get(item.name, Found())
            state = there.state or "missing"
            shown.append((host, f"accessory {item.name}", "", state, "", item.service, there.status))
    return rows(context, fields, shown, {**beside.errors, **facts.errors})


@click.command()
@click.option("-n", "--lines", default=50, type=click.IntRange(1), show_default=True, help="Lines per host.")
@reading
def audit(context: Context, target: Target, lines: int) -> int:
    """Show who did what, from the audit log of every host."""
    from deployer.cli.session import open_session
    from deployer.cli.work import ask, unanswered
    from deployer.commands import app as commands

    session = open_session(context, target, accessories=True)
    answers = ask(session, lambda host: commands.audit(session.config, lines), "Looking", hosts=session.hosts)
    found = {host: list(result.lines("audit")) for host, result in answers.values.items()}
    if context.console.json:
        context.console.data({**found, **dict.fromkeys(answers.errors)})
    else:
        for host, entries in found.items():
            for entry in entries:
                context.console.print(f"{context.console.host_label(host)} {entry}")
    return unanswered(context, answers.errors)


@click.group(cls=Group)
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
@changing
def acquire(context: Context, target: Target, message: str, lock_wait: int) -> None:
    """Take the lock for maintenance; it stays until it is released.

    With `--lock-wait` a command that has it may end first.
    """
    import contextlib

    from deployer.cli.session import open_session
    from deployer.cli.work import lock_held
    from deployer.commands import lock as commands
    from deployer.report import step_error
    from deployer.script import Script, Step
    from freehold.errors import LockedError

    session = open_session(context, target)
    owner = commands.owner_line(session.who(), message, session.now())
    fragment = commands.acquire_fragment(session.whole.name, owner, held=bool(lock_wait))
    script = Script((Step("lock", fragment),))
    with session.fleet() as fleet, contextlib.ExitStack() as stack:
        if lock_wait:
            # Held by this connection: who gives up waiting leaves nobody behind who takes it later.
            stack.enter_context(lock_held(context, session, fleet, "lock acquire", lock_wait))
        result = fleet[session.whole.lock_host].run(script, timeout=60)
    if not result.ok:
        refusal = commands.parse_refusal(result.lines("lock"))
        if refusal is None:
            raise step_error(script, result)
        state, found = refusal
        ends = (
            "it is free once that has ended; --lock-wait waits for it"
            if state == commands.HELD
            else "`freehold lock release` frees it"
        )
        raise LockedError(
            f"locked already by {found.get('by', 'somebody')}: {found.get('why', '')}", hint=ends
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
