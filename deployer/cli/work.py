"""What commands that look at hosts or change them share: one script per host, rows for the screen."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.options import Target
    from deployer.cli.session import Session
    from deployer.fleet import Fleet
    from deployer.script import Script, ScriptResult


def bash(fragment: str) -> str:
    """A fragment for a user whatever their login shell is."""
    return shlex.join(["bash", "-c", fragment])


def ask(
    session: Session, script: Callable[[str], Script], title: str, step: str
) -> Mapping[str, ScriptResult]:
    """Run a reading script on every host and return what came back; HostError where one fails."""
    from deployer.report import must

    with session.fleet() as fleet:
        scripts = {host: script(host) for host in session.config.hosts}
        return must(scripts, fleet.run(scripts, title, timeout=120), step)


def change(
    context: Context,
    target: Target,
    why: str,
    wait: int,
    script: Callable[[Session, str], Script],
    title: str,
) -> None:
    """Run a changing script on every host under the lock."""
    from deployer.cli.deploy import lock_held
    from deployer.cli.session import open_session
    from deployer.report import must

    session = open_session(context, target)
    with session.fleet() as fleet, lock_held(context, session, fleet, why, wait):
        scripts = {host: script(session, host) for host in session.config.hosts}
        must(scripts, fleet.run(scripts, title, timeout=600), why)


def rows(context: Context, fields: Sequence[str], found: Iterable[Sequence[object]]) -> None:
    """A table, or with `--json` a list of objects."""
    if context.console.json:
        context.console.data([dict(zip(fields, row, strict=False)) for row in found])
    else:
        context.console.table(fields, found)


def confirm(question: str, confirmed: bool) -> None:
    """Ask unless `-y` was given; "no" ends the command."""
    if not confirmed:
        click.confirm(question, abort=True, err=True)


def leashed(fragment: str) -> str:
    """Shell text that ends, with all that it has started, when its standard input does.

    sshd tells a program nothing when its reader goes; one that waits for a log would stay for ever.
    """
    return f"""setsid bash -c {shlex.quote(fragment)} </dev/null & main=$!
{{ cat >/dev/null; kill -TERM -- "-$main"; }} <&0 2>/dev/null & watch=$!
wait $main; code=$?
kill $watch 2>/dev/null
exit $code"""


def follow_all(
    context: Context,
    fleet: Fleet,
    commands: Sequence[tuple[str, str]],
    *,
    label: bool | None = None,
    endless: bool = False,
) -> int:
    """Run (host, command) pairs at once and print their lines as they come, with the host where there are
    several; the worst exit code. Ctrl-C ends the reading, and what is `endless` on the hosts.
    """
    many = len(commands) > 1 if label is None else label
    stop = threading.Event()

    def show(host: str, line: str) -> None:
        if context.console.json:
            import json

            context.console.print(json.dumps({"host": host, "line": line}, ensure_ascii=False))
        else:
            context.console.print(f"{context.console.host_label(host)} {line}" if many else line)

    keys = {str(index): pair for index, pair in enumerate(commands)}

    def work(key: str) -> int:
        host, command = keys[key]
        text = leashed(command) if endless else command
        return fleet[host].follow(bash(text), lambda line: show(host, line), stop, leash=endless)

    try:
        return max(fleet.each(keys, work).all().values(), default=0)
    except KeyboardInterrupt:
        stop.set()
        return 0


def raw(fleet: Fleet, host: str, command: str) -> int:
    """Run a command on one host and hand its output on byte by byte; its exit code."""
    from deployer.terminal import raw as copy

    return copy(fleet[host], bash(command))
