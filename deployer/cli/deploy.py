"""`freehold deploy`, `redeploy`, `rollback`."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator, Mapping

import click

from deployer.cli.options import Target, dry_run, lock_wait, skip_hooks, skip_push, target_options
from freehold.command import Context, common_options, pass_context


@click.command()
@target_options
@skip_push
@skip_hooks
@lock_wait
@dry_run
@common_options
@pass_context
def deploy(
    context: Context, target: Target, skip_push: bool, skip_hooks: bool, lock_wait: int, dry_run: bool
) -> None:
    """Build the application and bring it to the hosts, with zero downtime.

    New containers start on every host and are probed before any of them gets traffic. When one fails,
    every host stays on the version that serves.
    """
    from deployer.cli.session import open_session

    run_deploy(
        context,
        open_session(context, target),
        skip_push=skip_push,
        lock_wait=lock_wait,
        dry=dry_run,
    )


def run_deploy(
    context: Context,
    session: object,
    *,
    skip_push: bool = False,
    lock_wait: int = 0,
    dry: bool = False,
) -> None:
    """Deploy what the session says."""
    from deployer.cli.session import Session
    from deployer.commands import certificates
    from deployer.rollout import Delivery, Rollout
    from deployer.transfer import FACTS

    assert isinstance(session, Session)
    console, config, runner = context.console, session.config, context.runner
    started = time.monotonic()
    for warning in certificates.examine(config, config.roles, datetime.datetime.now(datetime.UTC)):
        console.warn(warning)
    version = session.target.version or _code_version(context, session)
    if dry:
        from deployer.cli.plan import show_deploy

        show_deploy(context, session, version)
        return
    with session.fleet() as fleet, lock_held(context, session, fleet, f"deploy {version}", lock_wait):
        rollout = Rollout(config, fleet, console, version, session.who(), images_question=FACTS)
        facts = rollout.look()
        if skip_push:
            rollout.deploy(lambda _: Delivery(config.image_name(version)), facts)
        else:
            from deployer.delivery import over_ssh
            from deployer.engine import local_engine
            from deployer.images import build_app
            from deployer.images.dockerfile import import_bases

            with local_engine(runner=runner, console=console, environ=context.environ) as engine:
                dockerfile = session.root / (config.builder.context or ".") / config.builder.dockerfile
                import_bases(dockerfile, engine=engine, runner=runner, console=console)
                with console.step(f"Building {config.image_name(version)}"):
                    image = build_app(
                        config, version, root=session.root, engine=engine, runner=runner, console=console
                    )
                rollout.deploy(
                    lambda known: over_ssh(
                        image, known, fleet=fleet, engine=engine, runner=runner, console=console
                    ),
                    facts,
                )
        _tell(context, "deployed", version, started, fleet.execs)


@click.command()
@target_options
@skip_push
@skip_hooks
@lock_wait
@common_options
@pass_context
def redeploy(context: Context, target: Target, skip_push: bool, skip_hooks: bool, lock_wait: int) -> None:
    """Deploy again, on hosts that are known to be prepared."""
    from deployer.cli.session import open_session

    run_deploy(context, open_session(context, target), skip_push=skip_push, lock_wait=lock_wait)


@click.command()
@click.argument("version", required=False)
@target_options
@skip_hooks
@lock_wait
@common_options
@pass_context
def rollback(context: Context, version: str | None, target: Target, skip_hooks: bool, lock_wait: int) -> None:
    """Go back to VERSION (default: the one before), as it was: image, configuration and environment.

    Nothing is built or sent; the containers of that version are still on the hosts.
    """
    from deployer.cli.session import open_session
    from deployer.rollout import Rollout, previous_version
    from freehold.errors import UsageError

    session = open_session(context, target)
    started = time.monotonic()
    wanted = version or target.version
    with session.fleet() as fleet, lock_held(context, session, fleet, "rollback", lock_wait):
        rollout = Rollout(session.config, fleet, context.console, wanted or "", session.who())
        facts = rollout.look()
        rollout.version = wanted or previous_version(facts, session.config)
        if all(known.version == rollout.version for known in facts.values()):
            raise UsageError(f"{rollout.version} already serves on every host")
        rollout.rollback(facts)
        _tell(context, "rolled back to", rollout.version, started, fleet.execs)


def _code_version(context: Context, session: object) -> str:
    from deployer.cli.session import Session
    from deployer.images import code_version

    assert isinstance(session, Session)
    clone = session.config.builder.context is None
    code = code_version(session.root, runner=context.runner, clone=clone)
    if code.warning:
        context.console.warn(code.warning)
    return code.version


@contextlib.contextmanager
def lock_held(context: Context, session: object, fleet: object, why: str, wait: int) -> Iterator[None]:
    from deployer import lock
    from deployer.cli.session import Session
    from deployer.commands.lock import owner_line
    from deployer.fleet import Fleet

    assert isinstance(session, Session) and isinstance(fleet, Fleet)
    owner = owner_line(session.who(), why, session.now())
    primary = fleet[session.whole.primary_host]
    with lock.held(primary, session.whole.name, owner, wait=wait, on_wait=context.console.info):
        yield


def _tell(context: Context, verb: str, version: str, started: float, execs: Mapping[str, int]) -> None:
    from freehold.console import duration

    seconds = time.monotonic() - started
    context.console.detail(f"SSH commands: {', '.join(f'{h} {n}' for h, n in execs.items())}")
    if context.console.json:
        context.console.data(
            {"version": version, "result": verb, "seconds": round(seconds, 2), "execs": dict(execs)}
        )
    else:
        context.console.success(f"{verb} {version} in {duration(seconds)}")
