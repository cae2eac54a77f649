"""`app maintenance`, `live`, `pause`, `resume`: requests taken away for a while, and given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, changing
from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.script import Script

drain_timeout = click.option(
    "--drain-timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long requests under way may take (default: drain_timeout of the file).",
)


@click.command()
@click.option("--message", default="", help="What to tell visitors.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Page to show (default: 503.html in error_pages_path, or Freehold's own).",
)
@drain_timeout
@changing
def maintenance(
    context: Context,
    target: Target,
    message: str,
    page: Path | None,
    drain_timeout: float | None,
    lock_wait: int,
) -> None:
    """Answer every request by 503 and a page until `app live`, also across deploys and reboots."""
    from deployer.commands import pages
    from deployer.commands import traffic as commands
    from deployer.config.errorpages import LARGEST
    from freehold.errors import UsageError

    own = None
    if page is not None:
        try:
            own = pages.filled(page.read_text(encoding="utf-8"), message)
        except UnicodeDecodeError as exc:
            raise UsageError(f"{page} is not UTF-8: {exc}") from exc

    def script(session: Session, host: str) -> Script:
        config = session.config
        text = own if own is not None else commands.maintenance_page(config, message)
        if len(text.encode()) > LARGEST:
            raise UsageError(f"the page is larger than {LARGEST} bytes")
        seconds = drain_timeout if drain_timeout is not None else config.drain_timeout
        audit = f"{session.who()} began maintenance"
        return commands.maintenance(config, config.roles_on(host), text, seconds, audit=audit)

    _run(context, target, "app maintenance", lock_wait, script, "in maintenance; `freehold app live` ends it")


@click.command()
@changing
def live(context: Context, target: Target, lock_wait: int) -> None:
    """End maintenance or a pause: requests reach the application again."""
    _live(context, target, lock_wait, "app live")


@click.command()
@changing
def resume(context: Context, target: Target, lock_wait: int) -> None:
    """End a pause: requests that wait are answered now."""
    _live(context, target, lock_wait, "app resume")


@click.command()
@drain_timeout
@changing
def pause(context: Context, target: Target, drain_timeout: float | None, lock_wait: int) -> None:
    """Let new requests wait, for at most 30 seconds each, until `app resume`."""
    from deployer.commands import traffic as commands

    def script(session: Session, host: str) -> Script:
        config = session.config
        seconds = drain_timeout if drain_timeout is not None else config.drain_timeout
        return commands.pause(config, config.roles_on(host), seconds, audit=f"{session.who()} paused")

    _run(context, target, "app pause", lock_wait, script, "requests wait; `freehold app resume` lets them go")


def _live(context: Context, target: Target, lock_wait: int, name: str) -> None:
    from deployer.commands import traffic as commands

    def script(session: Session, host: str) -> Script:
        config = session.config
        return commands.live(config, config.roles_on(host), audit=f"{session.who()} went live")

    _run(context, target, name, lock_wait, script, "live")


def _run(
    context: Context,
    target: Target,
    name: str,
    wait: int,
    script: Callable[[Session, str], Script],
    done: str,
) -> None:
    """Run a script on every host that serves requests, under the lock."""
    from deployer.cli.session import open_session
    from deployer.cli.work import lock_held
    from deployer.report import check, summary
    from deployer.script import limit
    from freehold.errors import UsageError

    session = open_session(context, target)
    config = session.config
    hosts = [host for host in config.hosts if any(role.proxy for role in config.roles_on(host))]
    if not hosts:
        raise UsageError("no requests reach these hosts or roles", hint="choose a role with a proxy")
    scripts = {host: script(session, host) for host in hosts}
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, name, wait):
        answers = fleet.run(scripts, name, timeout=limit(scripts, 600))
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, name) if errors[1:] else errors[0]
    context.console.success(done)
