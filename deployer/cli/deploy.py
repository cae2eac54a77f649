"""`freehold deploy`, `redeploy`, `rollback`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from deployer.cli.options import (
    Target,
    changing,
    dry_run,
    lock_wait,
    no_cache,
    registry,
    skip_push,
    target_options,
)
from freehold.command import Context, common_options, pass_context

if TYPE_CHECKING:
    from deployer.commands.canary import Allowed
    from deployer.commands.facts import HostFacts
    from deployer.config import DeployConfig
    from deployer.shipping import Shipping


@click.command()
@target_options
@skip_push
@no_cache
@registry
@lock_wait
@dry_run
@common_options
@pass_context
def deploy(
    context: Context,
    target: Target,
    skip_push: bool,
    no_cache: bool,
    registry: bool | None,
    lock_wait: int,
    dry_run: bool,
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
        no_cache=no_cache,
        registry=registry,
        lock_wait=lock_wait,
        dry=dry_run,
    )


def run_deploy(
    context: Context,
    session: object,
    *,
    skip_push: bool = False,
    no_cache: bool = False,
    registry: bool | None = None,
    lock_wait: int = 0,
    dry: bool = False,
    deploy_hooks: bool = True,
    share: float | None = None,
    allowed: Sequence[Allowed] = (),
    tell: bool = True,
    why: str = "",
    choose: Callable[[Mapping[str, HostFacts]], str] | None = None,
) -> None:
    """Deploy what the session says; with `share`, to so many percent of the visitors and the `allowed`.

    `choose` names the version by what is on the hosts, once nobody else can change it; `why` is then what
    others are told about the lock. Without `deploy_hooks` as `app boot` does, of which no deploy is told.
    Without `tell` the result is left to the caller to print.
    """
    from deployer.cli.session import Session
    from deployer.commands import certificates

    assert isinstance(session, Session)
    console, config, hooks = context.console, session.config, session.hooks
    started = time.monotonic()
    for warning in certificates.examine(config, config.roles, datetime.datetime.now(datetime.UTC)):
        console.warn(warning)
    version = code_version_of(context, session) if choose is None else ""
    shipping = shipping_of(context, session, version, registry=registry, no_cache=no_cache)
    if dry:
        from deployer.cli.plan import show_deploy

        show_deploy(context, session, version, shipping, skip_push=skip_push)
        return
    with session.fleet(ahead=True, question=True) as fleet:
        # Loaded while the hosts answer.
        from deployer.cli.work import looked_at
        from deployer.rollout import Delivery, Rollout
        from deployer.transfer import FACTS
        from deployer.trial import Trial

        rollout = Rollout(
            config,
            fleet,
            console,
            version,
            session.who(),
            # Which layers it has matters to no image that is there, or that the host pulls.
            images_question="" if skip_push else FACTS,
            hook=lambda name: run_boot_hook(session, name),
        )
        rollout.make_ready()
        why = why or f"deploy {version}"
        with looked_at(context, session, fleet, why, lock_wait, rollout.look) as facts:
            if choose is not None:
                rollout.version = version = hooks.know(choose(facts))
                shipping = dataclasses.replace(shipping, version=version)
            trial = None if share is None else Trial.of(rollout)
            if trial is not None:
                trial.check(facts)
            with contextlib.ExitStack() as stack:
                if skip_push:
                    deliver = shipping.fetched(fleet)
                else:
                    hooks.run("pre-build", locked=True)
                    deliver = stack.enter_context(shipping.built(_running(config, facts))).deliver(fleet)

                def brought(known: Mapping[str, HostFacts]) -> Delivery:
                    # Image and environment are there, so that a hook may run a migration with `app exec`.
                    delivery = deliver(_running(config, known))
                    if deploy_hooks:
                        if hooks.there("pre-deploy"):
                            (trial or rollout).write_environment(delivery.image)
                        hooks.run("pre-deploy", locked=True, so_far="no container was touched")
                    return delivery

                if trial is not None:
                    trial.begin(brought, facts, share or 0.0, allowed)
                    _tell(context, "tried", version, started, fleet.execs, percent=share)
                    return
                rollout.deploy(brought, facts)
        if deploy_hooks:
            seconds = time.monotonic() - started
            hooks.run("post-deploy", runtime=seconds, so_far=f"{version} is live all the same")
        if tell:
            _tell(context, "deployed", version, started, fleet.execs)


def _running(config: DeployConfig, facts: Mapping[str, HostFacts]) -> dict[str, HostFacts]:
    """The hosts that need the image; those that only balance do not."""
    return {host: known for host, known in facts.items() if host in config.hosts}


def run_boot_hook(session: object, name: str) -> None:
    """Run pre-app-boot or post-app-boot for the hosts that are worked on."""
    from deployer.cli.session import Session

    assert isinstance(session, Session)
    so_far = (
        "every host goes back to the version before" if name.startswith("post") else "nothing was changed"
    )
    session.hooks.run(name, hosts=session.config.hosts, locked=True, so_far=so_far)


def shipping_of(
    context: Context,
    session: object,
    version: str,
    *,
    registry: bool | None = None,
    no_cache: bool = False,
    login: bool = True,
) -> Shipping:
    """How a version comes to the hosts of a session; without `login` it can be looked at only."""
    from deployer.cli.session import Session
    from deployer.shipping import make_shipping

    assert isinstance(session, Session)
    return make_shipping(
        session.config,
        version,
        root=session.root,
        runner=context.runner,
        console=context.console,
        environ=context.environ,
        asked=registry,
        lab=session.target.lab,
        no_cache=no_cache,
        log_in=login,
    )


@click.command()
@target_options
@skip_push
@no_cache
@registry
@lock_wait
@common_options
@pass_context
def redeploy(
    context: Context,
    target: Target,
    skip_push: bool,
    no_cache: bool,
    registry: bool | None,
    lock_wait: int,
) -> None:
    """Deploy, as `deploy` does: Kamal's name for a deploy that prepares no host."""
    from deployer.cli.session import open_session

    run_deploy(
        context,
        open_session(context, target),
        skip_push=skip_push,
        no_cache=no_cache,
        registry=registry,
        lock_wait=lock_wait,
    )


@click.command()
@click.argument("version", required=False)
@changing
def rollback(context: Context, version: str | None, target: Target, lock_wait: int) -> None:
    """Go back to VERSION (default: the one before), as it was: image, configuration and environment.

    Nothing is built or sent; the containers of that version are still on the hosts.
    """
    from deployer.cli.session import open_session

    session = open_session(context, target)
    started = time.monotonic()
    wanted = version or target.version
    with session.fleet(ahead=True, question=True) as fleet:
        # Loaded while the hosts answer.
        from deployer.cli.work import looked_at
        from deployer.commands.serving import serving_role
        from deployer.kept import check_kept, previous_version
        from deployer.rollout import Rollout
        from freehold.errors import UsageError

        rollout = Rollout(
            session.config,
            fleet,
            context.console,
            wanted or "",
            session.who(),
            hook=lambda name: run_boot_hook(session, name),
        )
        rollout.make_ready()
        with looked_at(context, session, fleet, "rollback", lock_wait, rollout.look) as facts:
            rollout.version = session.hooks.version = wanted or previous_version(facts, session.config)
            if all(
                serving_role(session.config, known, role) == rollout.version
                for host, known in facts.items()
                for role in session.config.roles_on(host)
            ):
                raise UsageError(f"{rollout.version} already serves on every host")
            # Hooks announce things: none runs for a version that is not there.
            check_kept(session.config, rollout.version, facts)
            session.hooks.run("pre-deploy", locked=True)
            rollout.rollback(facts)
        session.hooks.run(
            "post-deploy",
            runtime=time.monotonic() - started,
            so_far=f"{rollout.version} is live all the same",
        )
        _tell(context, "rolled back to", rollout.version, started, fleet.execs)


def code_version_of(context: Context, session: object, *, quiet: bool = False) -> str:
    """The version that a session is about: as given, else that of the code."""
    from deployer.cli.session import Session
    from deployer.images import code_version

    assert isinstance(session, Session)
    given = session.target.version or session.config.version
    if given:
        return session.hooks.know(given)
    clone = session.config.builder.context is None
    code = code_version(session.root, runner=context.runner, clone=clone)
    if code.warning and not quiet:
        context.console.warn(code.warning)
    return session.hooks.know(code.version)


def _tell(
    context: Context, verb: str, version: str, started: float, execs: Mapping[str, int], **more: object
) -> None:
    from freehold.console import duration

    seconds = time.monotonic() - started
    context.console.detail(f"SSH commands: {', '.join(f'{h} {n}' for h, n in execs.items())}")
    if context.console.json:
        context.console.data(
            {"version": version, "result": verb, **more, "seconds": round(seconds, 2), "execs": dict(execs)}
        )
    else:
        context.console.success(f"{verb} {version} in {duration(seconds)}")
