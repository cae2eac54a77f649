"""`freehold proxy details`, `logs`, `boot_config get`: how the proxies are, without a change to any."""

from __future__ import annotations

import dataclasses

import click

from deployer.cli.options import Target, log_options, reading
from deployer.commands.wishes import LogWishes
from freehold.command import Context


@click.command()
@reading
def details(context: Context, target: Target) -> int:
    """Show the proxy of every host: version, since when, where it listens, whom it serves."""
    from deployer.cli.proxy import proxy_hosts
    from deployer.cli.session import open_session
    from deployer.cli.work import problem
    from deployer.cli.work import rows as table
    from deployer.commands import hostproxy
    from deployer.report import told

    session = open_session(context, target, accessories=True)
    scripts = dict.fromkeys(proxy_hosts(session), hostproxy.details())
    with session.fleet() as fleet:
        answers = told(scripts, fleet.run(scripts, "Looking at the proxies", timeout=180))
    found = {host: hostproxy.parse_details(result) for host, result in answers.values.items()}
    if context.console.json:
        context.console.data(
            [
                {
                    "host": one.host,
                    "state": one.state,
                    "version": one.version,
                    "since": one.since,
                    "listens": one.listens,
                    "sites": list(one.sites),
                    "targets": [dict(zip(("name", "address", "mode"), t, strict=True)) for t in one.targets],
                    "certificates": [
                        dict(zip(("name", "until", "by"), c, strict=True)) for c in one.certificates
                    ],
                    "behind": [dataclasses.asdict(b) for b in one.behind],
                    "refused": one.refused,
                    "failing": one.failing,
                    "problem": "",
                }
                for one in found.values()
            ]
            + [{"host": host, "problem": problem(host, error)} for host, error in answers.errors.items()]
        )
        return int(bool(answers.errors))
    fields = ("host", "state", "version", "since", "listens", "sites")
    shown = [(o.host, o.state, o.version, o.since, o.listens, " ".join(o.sites)) for o in found.values()]
    code = table(context, fields, shown, answers.errors)
    for one in found.values():
        if one.failing:
            context.console.warn(f"{one.host}: the proxy does not start: {one.failing}")
        if one.refused:
            context.console.warn(
                f"{one.host}: the proxy refuses the configuration on the disk and serves by the last one "
                f"that it accepted: {one.refused}"
            )
    rows = [(one.host, *row) for one in found.values() for row in one.targets]
    if rows:
        context.console.table(("host", "serves", "at", "mode"), rows)
    rows = [(o.host, b.prefix, b.address, b.state or "healthy") for o in found.values() for b in o.behind]
    if rows:
        context.console.table(("host", "balances", "to", "state"), rows)
    rows = [
        (one.host, name, until or "none", by)
        for one in found.values()
        for name, until, by in one.certificates
    ]
    if rows:
        context.console.table(("host", "certificate for", "until", "by"), rows)
    return code


@click.command()
@log_options()
@reading
def logs(context: Context, target: Target, wishes: LogWishes) -> int:
    """Show the proxy's log: one line of JSON for each request and each event."""
    from deployer.cli.proxy import proxy_hosts
    from deployer.cli.session import open_session
    from deployer.cli.work import follow_all
    from deployer.commands import hostproxy

    session = open_session(context, target, accessories=True)
    hosts, command = proxy_hosts(session), hostproxy.logs_command(wishes)
    with session.fleet() as fleet:
        return follow_all(context, fleet, [(host, command) for host in hosts], endless=wishes.follow)


@click.command("boot_config", context_settings={"ignore_unknown_options": True})
@click.argument("action", type=click.Choice(["set", "get", "reset"]))
@click.argument("kamals", nargs=-1, type=click.UNPROCESSED, metavar="")
@reading
def boot_config(context: Context, target: Target, action: str, kamals: tuple[str, ...]) -> None:
    """Show how the proxies run (`get`). `set` and `reset` are keys of the file here: `proxy.run`."""
    from deployer.cli.proxy import proxy_hosts, run_on
    from deployer.cli.session import open_session
    from deployer.commands import hostproxy
    from freehold.errors import UsageError

    if action != "get" or kamals:
        raise UsageError(
            f"boot_config {' '.join((action, *kamals))}: how the proxy runs is said in the file",
            hint="write proxy: {run: {http_port: 8080}} in config/deploy.yml, then `freehold proxy reboot`",
        )
    session = open_session(context, target, accessories=True)
    hosts = proxy_hosts(session)
    with session.fleet() as fleet:
        results = run_on(fleet, dict.fromkeys(hosts, hostproxy.details()), "Looking at the proxies")
    found = {host: hostproxy.parse_details(result).listens for host, result in results.items()}
    if context.console.json:
        context.console.data(found)
    else:
        context.console.table(("host", "runs with"), list(found.items()))
