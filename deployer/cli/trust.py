"""`freehold server trust`: accept the SSH keys of new hosts, after a look at their fingerprints."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from deployer.cli.options import Target, reading
from freehold.command import Context


@click.command()
@click.argument("names", metavar="[HOST]...", nargs=-1)
@click.option(
    "--fingerprint",
    "expected",
    multiple=True,
    metavar="SHA256:…",
    help="Accept the key that has this fingerprint, without a question.",
)
@reading
def trust(context: Context, names: tuple[str, ...], expected: tuple[str, ...], target: Target) -> None:
    """Show the SSH key of hosts that are not known yet, and keep it in ~/.ssh/known_hosts once accepted.

    Compare the fingerprint with what the provider's console or `ssh-keygen -lf` on the host shows. A key
    that differs from a known one is never accepted here.
    """
    from deployer.cli.session import open_session
    from deployer.config.pattern import matching, offer
    from deployer.hostkeys import show
    from deployer.hostkeys import trust as keep
    from freehold.errors import HostKeyError, UsageError

    session = open_session(context, target, accessories=True)
    ends = session.endpoints()
    chosen = list(matching(names, list(ends))) if names else list(session.config.all_hosts)
    if not chosen:
        raise UsageError(f"no host matches {', '.join(names)}", hint=offer(names[0], list(ends)))
    result = []
    for host in chosen:
        shown = show(ends[host])
        answer = "known"
        if not shown.known:
            context.console.info(f"{host}: {shown.kind} {shown.fingerprint}")
            if expected and shown.fingerprint not in expected:
                raise HostKeyError(
                    f"it shows {shown.fingerprint}, which is none of the expected fingerprints",
                    host=host,
                    hint="somebody may be in between; look at the host's own console",
                )
            if not expected:
                if not sys.stdin.isatty():
                    raise UsageError(
                        f"{host}: nobody is here to compare {shown.fingerprint}",
                        hint="after comparing: "
                        f"freehold server trust {host} --fingerprint {shown.fingerprint}",
                    )
                if not click.confirm(f"Is this the key of {host}?", err=True):
                    raise HostKeyError("its key was not accepted", host=host)
            keep(shown)
            answer = "accepted"
        result.append({**asdict(shown), "file": str(shown.file), "result": answer})
        if not context.console.json:
            context.console.success(f"{host}: {answer} ({shown.fingerprint})")
    if context.console.json:
        context.console.data(result)
