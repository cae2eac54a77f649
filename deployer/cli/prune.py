"""`freehold prune …`: remove what neither runs nor is needed for a rollback."""

from __future__ import annotations

import click

from deployer.cli.options import Target, changing
from freehold.command import Context, Group

retain_option = click.option(
    "--retain",
    type=click.IntRange(1),
    help="Versions to keep besides the one that serves (default: retain_containers).",
)


@click.group(cls=Group)
def prune() -> None:
    """Remove containers and images that neither run nor are needed for a rollback."""


def _prune(
    context: Context,
    target: Target,
    wait: int,
    what: str,
    *,
    containers: bool,
    images: bool,
    retain: int | None = None,
) -> None:
    from deployer.cli.session import open_session
    from deployer.cli.work import facts_of, lock_held
    from deployer.commands import phases
    from deployer.commands import prune as commands
    from deployer.report import must, summary

    session = open_session(context, target)
    config = session.config
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, f"prune {what}", wait):
        # What may go is in the containers and the history; a full disk may well have stopped the proxy.
        found = facts_of(session, fleet)
        errors = list(found.errors.values())
        if errors:
            raise summary(errors, "nothing was pruned") if errors[1:] else errors[0]
        facts = found.values
        scripts = {}
        for host, known in facts.items():
            steps = commands.steps(config, known, containers=containers, images=images, retain=retain)
            audit = phases.audit_step(config, f"{session.who()} pruned {what}")
            scripts[host] = phases.guarded(config, [*steps, audit])
        must(scripts, fleet.run(scripts, "Pruning", timeout=600), f"prune {what}")
    if context.console.json:
        kept = retain if retain is not None else config.retain_containers
        going = {host: commands.useless(config, known, kept) for host, known in facts.items()}
        context.console.data(
            {host: [c.name for c in gone.containers] if containers else [] for host, gone in going.items()}
        )
    else:
        context.console.success(f"pruned {what}")


@prune.command("all")
@retain_option
@changing
def all_(context: Context, target: Target, retain: int | None, lock_wait: int) -> None:
    """Old containers, then the images that nothing uses any more."""
    _prune(context, target, lock_wait, "all", containers=True, images=True, retain=retain)


@prune.command()
@changing
def images(context: Context, target: Target, lock_wait: int) -> None:
    """Images of the application that no container was made of."""
    _prune(context, target, lock_wait, "images", containers=False, images=True)


@prune.command()
@retain_option
@changing
def containers(context: Context, target: Target, retain: int | None, lock_wait: int) -> None:
    """Stopped containers, except those of the last versions that served."""
    _prune(context, target, lock_wait, "containers", containers=True, images=False, retain=retain)
