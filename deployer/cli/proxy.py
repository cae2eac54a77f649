"""`freehold proxy …`: the proxy of the hosts, a service of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from deployer.cli.options import (
    Target,
    changing,
    confirmed_option,
    rolling_option,
)
from freehold.command import Context, LazyGroup

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from deployer.config import DeployConfig
    from deployer.fleet import Fleet
    from deployer.script import Script, ScriptResult


@click.group(
    cls=LazyGroup,
    lazy={
        "details": ("deployer.cli.proxylook:details", "Show the proxy of every host."),
        "logs": ("deployer.cli.proxylook:logs", "Show the proxy's log."),
        "boot_config": ("deployer.cli.proxylook:boot_config", "Show how the proxies run (`get`)."),
    },
)
def proxy() -> None:
    """The proxy of the hosts: Caddy as a service, on sockets that stay open while it restarts."""


def proxy_hosts(session: Session) -> list[str]:
    """The hosts asked for that serve requests."""
    from freehold.errors import UsageError

    found = [host for host in session.hosts if serves(session.config, host)]
    if not found:
        raise UsageError("no host asked for has a role or an accessory with a proxy")
    return found


def serves(config: DeployConfig, host: str) -> bool:
    """Whether a host has a role or an accessory that requests reach."""
    if any(role.proxy is not None for role in config.routed_on(host)):
        return True
    return any(item.proxy is not None for item in config.accessories_on(host))


def run_on(
    fleet: Fleet, scripts: Mapping[str, Script], title: str, timeout: float = 180
) -> Mapping[str, ScriptResult]:
    """Run scripts; raise where one fails."""
    from deployer.report import check, summary

    answers = fleet.run(scripts, title, timeout=timeout)
    errors = [*answers.errors.values(), *check(scripts, answers.values)]
    if errors:
        raise summary(errors, title) if errors[1:] else errors[0]
    return answers.values


@proxy.command()
@changing
def boot(context: Context, target: Target, lock_wait: int) -> None:
    """Bring hosts and their proxy to what config/host.yml and `proxy.run` say; changes nothing twice."""
    _apply(context, target, lock_wait, "proxy boot")


@proxy.command()
@rolling_option
@confirmed_option
@changing
def reboot(context: Context, target: Target, rolling: bool, confirmed: bool, lock_wait: int) -> None:
    """As `boot`, then restart the proxy; new connections wait for it meanwhile."""
    from deployer.cli.work import confirm
    from deployer.commands import hostproxy

    confirm("Restart the proxy? Connections that are open end.", confirmed)
    _apply(context, target, lock_wait, "proxy reboot", hostproxy.control("restart"), rolling=rolling)


@proxy.command()
@rolling_option
@confirmed_option
@changing
def upgrade(context: Context, target: Target, rolling: bool, confirmed: bool, lock_wait: int) -> None:
    """Install the proxy that this Freehold carries. What is open stays with the one that runs."""
    from deployer.cli.work import confirm
    from deployer.commands import hostproxy

    confirm("Replace the proxy's program where it is another version?", confirmed)
    then = hostproxy.take_over(only_other=True)
    _apply(context, target, lock_wait, "proxy upgrade", then, rolling=rolling, upgrade=True)


def _apply(
    context: Context,
    target: Target,
    wait: int,
    name: str,
    then: Script | None = None,
    *,
    rolling: bool = False,
    upgrade: bool = False,
) -> None:
    """The recipe on the hosts, and a script after it."""
    from deployer.cli.server import apply_recipe, profiles_of
    from deployer.cli.session import open_session
    from deployer.cli.work import lock_held
    from deployer.commands import hostproxy, phases
    from deployer.script import Script

    session = open_session(context, target, accessories=True)
    hosts, profiles = proxy_hosts(session), profiles_of(session)
    restarts = upgrade or then is not None
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, name, wait):
        for group in [[host] for host in hosts] if rolling else [hosts]:
            if restarts:
                session.hooks.run("pre-proxy-reboot", hosts=group, locked=True)
            wanted = {host: profiles[host] for host in group}
            if upgrade:
                run_on(fleet, dict.fromkeys(group, hostproxy.announce()), name)
            apply_recipe(context, fleet, wanted, "Preparing the proxy", upgrade=upgrade)
            steps = then.steps if then is not None else ()
            script = Script((*steps, phases.audit_step(session.config, f"{session.who()} ran {name}")))
            run_on(fleet, dict.fromkeys(group, script), name)
            if restarts:
                told = f"the proxy of {', '.join(group)} was restarted"
                session.hooks.run("post-proxy-reboot", hosts=group, locked=True, so_far=told)


def _control(context: Context, target: Target, wait: int, verb: str) -> None:
    from deployer.cli.session import open_session
    from deployer.cli.work import lock_held
    from deployer.commands import hostproxy, phases

    session = open_session(context, target, accessories=True)
    hosts = proxy_hosts(session)
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, f"proxy {verb}", wait):
        line = f"{session.who()} ran proxy {verb}"
        controlled = hostproxy.take_over() if verb == "restart" else hostproxy.control(verb)
        script = phases.audited(session.config, controlled, line)
        run_on(fleet, dict.fromkeys(hosts, script), f"proxy {verb}")


@proxy.command()
@changing
def start(context: Context, target: Target, lock_wait: int) -> None:
    """Start the proxy."""
    _control(context, target, lock_wait, "start")


@proxy.command()
@changing
def stop(context: Context, target: Target, lock_wait: int) -> None:
    """Stop the proxy and close its sockets: requests are refused until `proxy start`."""
    _control(context, target, lock_wait, "stop")


@proxy.command()
@changing
def restart(context: Context, target: Target, lock_wait: int) -> None:
    """Start the proxy anew; new connections wait a second, and what is open stays with the former process."""
    _control(context, target, lock_wait, "restart")


@proxy.command()
@confirmed_option
@click.option("--force", is_flag=True, help="Also where applications are served.")
@changing
def remove(context: Context, target: Target, confirmed: bool, force: bool, lock_wait: int) -> None:
    """Take the proxy off the hosts: units, firewall ports. Certificates and routes stay on the disk."""
    from deployer.cli.server import apply_recipe, host_profile
    from deployer.cli.session import open_session
    from deployer.cli.work import confirm, lock_held
    from deployer.commands import hostproxy, phases
    from deployer.hostprofile import without_proxy
    from deployer.script import Script

    session = open_session(context, target, accessories=True)
    hosts = proxy_hosts(session)
    confirm(f"Remove the proxy of {', '.join(hosts)}?", confirmed)
    profile = without_proxy(host_profile(session))
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, "proxy remove", lock_wait):
        if not force:
            run_on(fleet, dict.fromkeys(hosts, hostproxy.idle()), "Is it needed")
        apply_recipe(context, fleet, dict.fromkeys(hosts, profile), "Removing the proxy")
        noted = Script((phases.audit_step(session.config, f"{session.who()} ran proxy remove"),))
        run_on(fleet, dict.fromkeys(hosts, noted), "proxy remove")


def _no_container(name: str) -> None:
    """A command of Kamal's that handles its proxy's container."""

    @proxy.command(name, hidden=True)
    @changing
    def refuse(context: Context, target: Target, lock_wait: int) -> None:
        """The proxy is a service of the host; `remove` takes it off."""
        from freehold.errors import UsageError

        raise UsageError(
            f"proxy {name}: the proxy is a service of the host, not a container",
            hint="`freehold proxy remove` takes it off; `freehold upgrade` takes hosts over from Kamal's",
        )


for _name in ("remove_container", "remove_image", "remove_proxy_directory"):
    _no_container(_name)
