"""`freehold server …`: prepare hosts, prove what they are, run a command on them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Target, reading
from freehold.command import Context, LazyGroup
from freehold.errors import FreeholdError

if TYPE_CHECKING:
    from cloudinit.checks import Examined
    from cloudinit.profile import HostProfile
    from deployer.become import Become
    from deployer.bootstrap import Bootstrapped, Look
    from deployer.cli.session import Session
    from deployer.fleet import Fleet
    from freehold.secret import Secret


@click.group(
    cls=LazyGroup,
    lazy={"trust": ("deployer.cli.trust:trust", "Accept the SSH keys of new hosts.")},
)
def server() -> None:
    """Prepare hosts, prove what they are, run commands on them."""


def host_profile(session: Session) -> HostProfile:
    """`config/host.yml`, or the default where there is none; with the operator's keys outside a lab."""
    from cloudinit.keysources import LocalKeySources, resolve_keys
    from deployer.rehearsal import lab_profile, rehearsed

    context, profile = session.context, lab_profile(session.root)
    if session.target.lab:
        # The lab's key is in no profile, and stays.
        users = tuple(replace(user, keys_added=True) for user in profile.users)
        return rehearsed(replace(profile, users=users), session.whole)
    return resolve_keys(profile, LocalKeySources(context.runner, context.root))


def profiles_of(session: Session) -> dict[str, HostProfile]:
    """The profile of each host; a lab's machines keep the names that the lab gave them."""
    from deployer.hostprofile import running_as

    profile = host_profile(session)
    return {
        host: running_as(profile if session.target.lab else profile.for_host(host), session.whole, host)
        for host in session.config.all_hosts
    }


def bootstrap_hosts(
    context: Context, session: Session, fleet: Fleet, hosts: list[str], *, upgrade: bool = False
) -> dict[str, Bootstrapped]:
    """Run the recipe on hosts, at once; what changed on each. `upgrade` sends this Freehold's proxy."""
    profiles = profiles_of(session)
    wanted = {host: profiles[host] for host in hosts}
    done = apply_recipe(context, fleet, wanted, "Preparing hosts", upgrade=upgrade)
    for host in hosts:
        # Groups that the recipe gave the user count from the next login on.
        fleet[host].close()
    return done


def apply_recipe(
    context: Context,
    fleet: Fleet,
    profiles: Mapping[str, HostProfile],
    title: str,
    *,
    upgrade: bool = False,
) -> dict[str, Bootstrapped]:
    """Make hosts what their profiles say, as root or by sudo; a password is asked for where sudo wants it."""
    from deployer.bootstrap import bootstrap as prepare
    from deployer.bootstrap import look

    hosts = list(profiles)
    looks = fleet.each(hosts, lambda host: look(fleet[host])).all()
    ways = ways_to_root(context, fleet, looks)
    with context.console.board(title, hosts) as board:

        def work(host: str) -> Bootstrapped:
            try:
                done = prepare(fleet[host], profiles[host], board, looks[host], ways[host], upgrade=upgrade)
            except Exception as exc:
                board.fail(host, str(exc).splitlines()[0])
                raise
            board.done(host, f"changed: {', '.join(done.changed)}" if done.changed else "nothing to change")
            return done

        done = dict(fleet.each(hosts, work).all())
    for host in hosts:
        port = profiles[host].ssh.port
        if looks[host].port not in (0, port):
            context.console.warn(f"{host}: sshd listens on port {port} now; say so under ssh: in deploy.yml")
    return done


def ways_to_root(context: Context, fleet: Fleet, looks: Mapping[str, Look]) -> dict[str, Become]:
    """How to become root on hosts that were looked at; a password is asked for where sudo wants one."""
    from deployer.become import root_on

    # One after the other, as there is one terminal to ask on.
    passwords: list[Secret] = []
    return {
        host: root_on(fleet[host], found.way, context.environ, passwords) for host, found in looks.items()
    }


@server.command()
@reading
def bootstrap(context: Context, target: Target) -> None:
    """Bring hosts to the state that config/host.yml describes: Docker, proxy, users, firewall, updates.

    Works on a fresh Debian as root or as a user with sudo, and changes nothing the second time. Where
    sudo wants a password, it is asked for on the terminal, or taken from FREEHOLD_SUDO_PASSWORD.
    """
    from deployer.cli.session import open_session

    session = open_session(context, target, accessories=True)
    with session.fleet() as fleet:
        hosts = list(session.hosts)
        done = bootstrap_hosts(context, session, fleet, hosts)
        session.hooks.run("docker-setup", hosts=hosts, so_far="the hosts are prepared")
    if context.console.json:
        context.console.data(
            {
                host: {
                    "changed": list(found.changed),
                    "steps": {step.name: step.seconds for step in found.result.steps},
                }
                for host, found in done.items()
            }
        )


@server.command()
@reading
def check(context: Context, target: Target) -> int:
    """Prove with testinfra that every host is what config/host.yml describes; exit 1 where one is not.

    Lists what listens on addresses that other machines can reach, and who gets through to it. Where sudo
    wants a password, it is asked for on the terminal, or taken from FREEHOLD_SUDO_PASSWORD.
    """
    from cloudinit.checks import examine
    from deployer.bootstrap import look
    from deployer.checkup import show
    from deployer.cli.session import open_session
    from deployer.inspection import testinfra_host

    session = open_session(context, target, accessories=True)
    profiles, hosts = profiles_of(session), session.hosts
    with session.fleet() as fleet:
        looks = fleet.each(hosts, lambda host: look(fleet[host])).all()
        ways = ways_to_root(context, fleet, looks)
        with context.console.board("Checking hosts", list(hosts)) as board:

            def work(host: str) -> Examined:
                board.update(host, "asking")
                try:
                    found = examine(testinfra_host(fleet[host], ways[host]), profiles[host])
                except FreeholdError as exc:
                    board.fail(host, exc.message)
                    raise
                if found.wrong:
                    board.fail(host, f"{len(found.wrong)} of {len(found.results)} checks fail")
                else:
                    board.done(host, f"{len(found.results)} checks pass")
                return found

            found = dict(fleet.each(hosts, work).all())
    show(context.console, found, profiles)
    return int(any(examined.wrong for examined in found.values()))


@server.command("exec")
@click.option("-i", "--interactive", is_flag=True, help="With a terminal, on the primary host.")
@click.option("--raw", is_flag=True, help="Output as it is, byte by byte, from the primary host.")
@click.argument("command", nargs=-1, required=True)
@reading
def exec_(context: Context, target: Target, interactive: bool, raw: bool, command: tuple[str, ...]) -> int:
    """Run COMMAND on the hosts themselves."""
    from deployer.cli import work as shared
    from deployer.cli.session import open_session
    from deployer.cli.typed import noted, typed
    from freehold.errors import UsageError

    session = open_session(context, target, accessories=True)
    if raw and interactive:
        raise UsageError("--raw and --interactive exclude each other")
    words = noted(session, command, "on the host", typed(command))
    line = shared.bash(words)
    with session.fleet() as fleet:
        if interactive:
            from deployer.terminal import interactive as join

            return join(fleet[session.hosts[0]], line)
        if raw:
            return shared.raw(fleet, session.hosts[0], words)
        if context.console.json:
            return shared.collect_all(context, fleet, [({"host": h}, words) for h in session.hosts])
        many = len(session.hosts) > 1

        def work(host: str) -> int:
            def show(out: str) -> None:
                context.console.print(f"{context.console.host_label(host)} {out}" if many else out)

            return fleet[host].follow(line, show, threading.Event())

        return shared.worst(fleet.each(session.hosts, work).all().values())
