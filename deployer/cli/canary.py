"""`freehold canary`: a version on a share of the visitors, then for all, or away again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing, skip_push
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session

Tried = Mapping[str, Mapping[str, tuple[str, float]]]


@click.command()
@click.argument("action", metavar="10%|promote|abort|status")
@skip_push
@changing
def canary(context: Context, action: str, target: Target, skip_push: bool, lock_wait: int) -> None:
    """Try a version on a share of the visitors.

    `canary 10%` builds and starts it beside the one that serves; again with another share, it changes
    the share. A visitor stays with a version (cookie freehold_split; `canary` and `stable` choose one).
    `promote` deploys it to all, `abort` takes it away. Any deploy or rollback ends it.
    """
    from deployer.cli.deploy import run_deploy
    from deployer.cli.session import open_session
    from freehold.errors import InputError, UsageError

    share = re.fullmatch(r"(\d+(?:\.\d+)?)%", action)
    if share is None and action not in ("promote", "abort", "status"):
        raise UsageError(
            f"{action!r} is no share", hint="for example `freehold canary 10%`; promote, abort, status"
        )
    percent = float(share[1]) if share else 0.0
    if percent > 100:
        raise UsageError(f"{action} is more than all", hint="from 0% to 100%")
    whole = open_session(context, target)
    session = _of_the_web(whole)
    tried = _tried(session)
    if action == "status":
        _show(context, tried)
        return
    versions = {version for host in tried.values() for version, _ in host.values()}
    wanted = target.version
    if share and not versions:
        run_deploy(context, session, skip_push=skip_push, lock_wait=lock_wait, share=percent)
        context.console.success(
            f"tried on {percent:g}% of the visitors; then `canary promote` or `canary abort`"
        )
        return
    if not versions:
        raise InputError("no version is being tried", hint="`freehold canary 10%` begins")
    if len(versions) > 1 or (wanted and {wanted} != versions):
        raise InputError(
            f"being tried already: {', '.join(sorted(versions))}", hint="`freehold canary abort` ends that"
        )
    version = wanted or versions.pop()
    if action == "promote":
        again = dataclasses.replace(whole, config=dataclasses.replace(whole.config, version=version))
        run_deploy(context, again, skip_push=True, lock_wait=lock_wait)
        return
    _change(context, session, version, percent if share else None, lock_wait)


def _of_the_web(session: Session) -> Session:
    """The same for the roles that requests reach."""
    from freehold.errors import UsageError

    names = [role.name for role in session.config.roles if role.proxy is not None]
    if not names:
        raise UsageError("no role asked for has a proxy", hint="visitors reach such roles only")
    return dataclasses.replace(session, config=session.config.select(roles=names))


def _tried(session: Session) -> Tried:
    from deployer.cli.proxy import run_on
    from deployer.commands import canary as commands

    config = session.config
    with session.fleet() as fleet:
        scripts = {host: commands.state(config, config.roles_on(host)) for host in config.hosts}
        results = run_on(fleet, scripts, "What is tried")
    return {host: commands.parse_state(result) for host, result in results.items()}


def _show(context: Context, tried: Tried) -> None:
    rows = [(host, *cells) for host, found in tried.items() for cells in _rows(found)]
    fields = ("host", "role", "version", "percent")
    if context.console.json:
        context.console.data([dict(zip(fields, row, strict=True)) for row in rows])
    elif rows:
        context.console.table(fields, [(*row[:3], f"{row[3]:.0f}%") for row in rows])
    else:
        context.console.print("nothing is being tried")


def _rows(found: Mapping[str, tuple[str, float]]) -> list[tuple[str, str, float]]:
    return [(prefix, version, percent) for prefix, (version, percent) in found.items()]


def _change(context: Context, session: Session, version: str, percent: float | None, wait: int) -> None:
    """Another share, or none and the end of it."""
    from deployer.cli.deploy import lock_held
    from deployer.rollout import Rollout

    with session.fleet() as fleet, lock_held(context, session, fleet, f"canary {version}", wait):
        rollout = Rollout(session.config, fleet, context.console, version, session.who())
        if percent is None:
            rollout.abort(rollout.look())
            context.console.success(f"{version} is away")
        else:
            rollout.split(percent)
            context.console.success(f"{percent:g}% of the visitors get {version}")
