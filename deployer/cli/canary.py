"""`freehold canary`: a version on a share of the visitors, then for all, or away again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing, skip_push
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.commands.canary import Allowed, Tried
    from deployer.commands.facts import HostFacts
    from deployer.fleet import Answers


@click.command()
@click.argument("action", metavar="10%|promote|abort|status")
@click.option(
    "--allow",
    multiple=True,
    metavar="VISITORS",
    help="Who gets it whatever the share: 'header X-Beta=1', 'cookie beta=yes', 'address 203.0.113.0/24'; "
    "again for more, 'none' for nobody any more.",
)
@skip_push
@changing
def canary(
    context: Context, action: str, target: Target, allow: tuple[str, ...], skip_push: bool, lock_wait: int
) -> int:
    """Try a version on a share of the visitors.

    `canary 10%` builds and starts it beside the one that serves; again with another share, it changes
    the share. A visitor stays with a version (cookie freehold_split; `canary` and `stable` choose one).
    With `--allow` chosen visitors get it besides; `canary 0% --allow 'header X-Beta=1'` gives it to them
    alone. `promote` deploys it to all, `abort` takes it away. Any deploy or rollback ends it.
    """
    from deployer.cli.deploy import run_deploy
    from deployer.cli.session import open_session
    from deployer.commands.canary import parse_allowed
    from deployer.trial import tried_on
    from freehold.errors import InputError, UsageError

    share = re.fullmatch(r"(\d+(?:\.\d+)?)%", action)
    if share is None and action not in ("promote", "abort", "status"):
        raise UsageError(
            f"{action!r} is no share", hint="for example `freehold canary 10%`; promote, abort, status"
        )
    percent = float(share[1]) if share else 0.0
    if percent > 100:
        raise UsageError(f"{action} is more than all", hint="from 0% to 100%")
    if allow and not share:
        raise UsageError(f"--allow means nothing with {action}", hint="for example `canary 0% --allow …`")
    allowed = parse_allowed(allow)
    whole = open_session(context, target)
    session = _of_the_web(whole)
    if any(one.kind == "address" for one in allowed) and any(role.balanced for role in session.config.roles):
        raise UsageError(
            "--allow address: hosts behind a load balancer see its address, and not the visitor's",
            hint="choose visitors by a header or a cookie",
        )
    answers = _tried(session)
    if action == "status":
        return _show(context, answers)
    tried = answers.all()
    versions = {one.version for host in tried.values() for one in host.values()}
    wanted = target.version
    if share and not versions:
        run_deploy(context, whole, skip_push=skip_push, lock_wait=lock_wait, share=percent, allowed=allowed)
        context.console.info(f"{percent:g}% of the visitors get it; then `canary promote` or `canary abort`")
        return 0
    if not versions and action == "abort":
        # One at a time, as with those that are tried.
        left = _left(session)
        versions = set(sorted(left & {wanted} if wanted else left)[:1])
    if not versions:
        raise InputError("no version is being tried", hint="`freehold canary 10%` begins")
    if len(versions) > 1 or (wanted and {wanted} != versions):
        raise InputError(
            f"being tried already: {', '.join(sorted(versions))}", hint="`freehold canary abort` ends that"
        )
    (version,) = versions
    if action == "promote":

        def choose(facts: Mapping[str, HostFacts]) -> str:
            """Again, now that nobody else can change it."""
            found = {one for known in facts.values() for one in tried_on(session.config, known)}
            if found != {version}:
                raise InputError(
                    f"{version} is not being tried any more",
                    hint="somebody has ended that; `freehold app version` shows what serves",
                )
            return version

        run_deploy(
            context,
            whole,
            skip_push=True,
            lock_wait=lock_wait,
            why=f"canary promote {version}",
            choose=choose,
        )
        return 0
    _change(context, session, version, percent if share else None, allowed if allow else None, lock_wait)
    return 0


def _of_the_web(session: Session) -> Session:
    """The same for the roles that requests reach."""
    from deployer.trial import of_the_web

    return dataclasses.replace(session, config=of_the_web(session.config))


def _tried(session: Session) -> Answers[Mapping[str, Tried]]:
    from deployer.cli.work import ask
    from deployer.commands import canary as commands
    from deployer.fleet import Answers

    config = session.config
    found = ask(session, lambda host: commands.state(config, config.roles_on(host)), "What is tried")
    return Answers({host: commands.parse_state(one) for host, one in found.values.items()}, found.errors)


def _left(session: Session) -> set[str]:
    """What a trial left that was killed, or whose end was."""
    from deployer.cli.work import facts_of
    from deployer.trial import uncounted

    with session.fleet() as fleet:
        facts = facts_of(session, fleet).all()
    return {version for known in facts.values() for version in uncounted(session.config, known)}


def _show(context: Context, tried: Answers[Mapping[str, Tried]]) -> int:
    from deployer.cli.work import rows

    json = context.console.json
    shown = [
        (
            host,
            prefix,
            one.version,
            one.percent if json else f"{one.percent:.0f}%",
            list(one.allowed) if json else ", ".join(one.allowed),
        )
        for host, found in tried.values.items()
        for prefix, one in found.items()
    ]
    if not (shown or json or tried.errors):
        context.console.print("nothing is being tried")
        return 0
    return rows(context, ("host", "role", "version", "percent", "allowed"), shown, tried.errors)


def _change(
    context: Context,
    session: Session,
    version: str,
    percent: float | None,
    allowed: Sequence[Allowed] | None,
    wait: int,
) -> None:
    """Another share, or none and the end of it."""
    from deployer.cli.work import lock_held
    from deployer.trial import Trial

    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, f"canary {version}", wait):
        trial = Trial(session.config, fleet, context.console, version, session.who())
        if percent is None:
            trial.abort(trial.look())
        else:
            trial.split(percent, allowed)
    if context.console.json:
        found = {"result": "aborted"} if percent is None else {"result": "tried", "percent": percent}
        context.console.data({"version": version, **found})
    elif percent is None:
        context.console.success(f"{version} is away")
    else:
        context.console.success(f"{percent:g}% of the visitors get {version}")
