"""`freehold server …`: prepare hosts, prove what they are, run a command on them."""

from __future__ import annotations

import shlex
import threading
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.options import Target, target_options
from freehold.command import Context, LazyGroup, common_options, pass_context

if TYPE_CHECKING:
    from cloudinit.checks import CheckResult
    from cloudinit.profile import HostProfile
    from deployer.cli.session import Session
    from deployer.fleet import Fleet


@click.group(
    cls=LazyGroup,
    lazy={"trust": ("deployer.cli.trust:trust", "Accept the SSH keys of new hosts.")},
)
def server() -> None:
    """Prepare hosts, prove what they are, run commands on them."""


def host_profile(session: Session) -> HostProfile:
    """`config/host.yml`, or the default where there is none; with the operator's keys outside a lab."""
    from cloudinit.keysources import LocalKeySources, resolve_keys
    from deployer.rehearsal import lab_profile

    context, profile = session.context, lab_profile(session.root)
    if session.target.lab:
        return profile
    return resolve_keys(profile, LocalKeySources(context.runner, context.root))


def bootstrap_hosts(
    context: Context, session: Session, fleet: Fleet, hosts: list[str], *, upgrade: bool = False
) -> None:
    """Run the recipe on hosts, at once; `upgrade` sends the proxy that this Freehold carries."""
    from deployer.bootstrap import bootstrap as prepare
    from deployer.hostprofile import running_as

    profile = host_profile(session)
    with context.console.board("Preparing hosts", hosts) as board:

        def work(host: str) -> None:
            try:
                own = running_as(profile, session.whole, host)
                done = prepare(fleet[host], own, board, upgrade=upgrade)
            except Exception as exc:
                board.fail(host, str(exc).splitlines()[0])
                raise
            board.done(host, f"changed: {', '.join(done.changed)}" if done.changed else "nothing to change")

        fleet.each(hosts, work).all()
    for host in hosts:
        # Groups that the recipe gave the user count from the next login on.
        fleet[host].close()
    session.hooks.run("docker-setup", hosts=hosts, so_far="the hosts are prepared")


@server.command()
@target_options
@common_options
@pass_context
def bootstrap(context: Context, target: Target) -> None:
    """Bring hosts to the state that config/host.yml describes: Docker, proxy, users, firewall, updates.

    Works on a fresh Debian as root or as a user with sudo, and changes nothing the second time.
    """
    from deployer.cli.session import open_session

    session = open_session(context, target)
    with session.fleet() as fleet:
        bootstrap_hosts(context, session, fleet, list(session.config.hosts))


@server.command()
@target_options
@common_options
@pass_context
def check(context: Context, target: Target) -> int:
    """Prove with testinfra that every host is what config/host.yml describes; exit 1 where one is not."""
    from cloudinit.checks import run_checks
    from deployer.cli.session import open_session
    from deployer.hostprofile import running_as
    from deployer.inspection import testinfra_host
    from freehold.errors import FreeholdError

    session = open_session(context, target)
    profile = host_profile(session)
    ends = session.endpoints()
    results: dict[str, list[CheckResult]] = {}
    with context.console.board("Checking hosts", list(session.config.hosts)) as board:
        from deployer.fleet import Fleet

        def work(host: str) -> None:
            board.update(host, "asking")
            try:
                own = running_as(profile, session.whole, host)
                results[host] = run_checks(testinfra_host(ends[host]), own)
            except FreeholdError as exc:
                board.fail(host, exc.message)
                raise
            wrong = sum(not result.ok for result in results[host])
            if wrong:
                board.fail(host, f"{wrong} of {len(results[host])} checks fail")
            else:
                board.done(host, f"{len(results[host])} checks pass")

        with Fleet({}, context.console) as fleet:
            fleet.each(session.config.hosts, work).all()
    _show_checks(context, results)
    return int(any(not result.ok for found in results.values() for result in found))


def _show_checks(context: Context, results: dict[str, list[Any]]) -> None:
    hosts = list(results)
    if context.console.json:
        context.console.data(
            {
                host: [{"id": r.id, "title": r.title, "ok": r.ok, "detail": r.detail} for r in found]
                for host, found in results.items()
            }
        )
        return
    titles = [(result.id, result.title) for result in next(iter(results.values()), [])]
    rows = []
    for index, (_, title) in enumerate(titles):
        rows.append([title, *("ok" if results[host][index].ok else "FAILS" for host in hosts)])
    context.console.table(["check", *hosts], rows)
    for host, found in results.items():
        for result in found:
            if not result.ok:
                context.console.print(f"{host}: {result.title}: {result.detail}")


@server.command("exec")
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on the primary host.")
@click.argument("command", nargs=-1, required=True)
@target_options
@common_options
@pass_context
def exec_(context: Context, target: Target, interactive: bool, command: tuple[str, ...]) -> int:
    """Run COMMAND on the hosts themselves."""
    from deployer.cli.app import bash
    from deployer.cli.session import open_session

    session = open_session(context, target)
    line = bash(command[0] if len(command) == 1 else shlex.join(command))
    with session.fleet() as fleet:
        if interactive:
            from deployer.terminal import interactive as join

            return join(fleet[session.config.primary_host], line)
        many = len(session.config.hosts) > 1

        def work(host: str) -> int:
            def show(out: str) -> None:
                context.console.print(f"{context.console.host_label(host)} {out}" if many else out)

            return fleet[host].follow(line, show, threading.Event())

        return max(fleet.each(session.config.hosts, work).all().values(), default=0)
