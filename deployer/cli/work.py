"""What commands that look at hosts or change them share: one script per host, rows for the screen."""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from freehold.command import Context

if TYPE_CHECKING:
    from deployer.cli.options import Target
    from deployer.cli.session import Session
    from deployer.commands.facts import HostFacts
    from deployer.fleet import Answers, Fleet
    from deployer.script import Script, ScriptResult
    from freehold.errors import FreeholdError


T = TypeVar("T")
LOST = -1
"""The exit code of a command whose connection broke."""


def bash(fragment: str) -> str:
    """A fragment for a user whatever their login shell is."""
    return shlex.join(["bash", "-c", fragment])


def ask(
    session: Session, script: Callable[[str], Script], title: str, *, hosts: Sequence[str] = ()
) -> Answers[ScriptResult]:
    """Run a reading script on the hosts, or on every one of the application's; one that cannot be asked
    hides nothing of the others.
    """
    from deployer.report import told

    asked = hosts or session.config.hosts
    with session.fleet_of(asked, ahead=True) as fleet:
        scripts = {host: script(host) for host in asked}
        return told(scripts, fleet.run(scripts, title, timeout=120))


def facts_of(session: Session, fleet: Fleet) -> Answers[HostFacts]:
    """What every host runs, for commands that need neither all hosts nor their proxies."""
    from deployer.commands.facts import parse_facts, state_script
    from deployer.fleet import Answers
    from deployer.report import told

    config = session.config
    scripts = dict.fromkeys(config.hosts, state_script(config))
    found = told(scripts, fleet.run(scripts, "Looking at the hosts", timeout=120))
    facts = {host: parse_facts(config, one).settled() for host, one in found.values.items()}
    return Answers(facts, found.errors)


def change(
    context: Context,
    target: Target,
    why: str,
    wait: int,
    script: Callable[[Session, str], Script],
    title: str,
    *,
    audit: str = "",
    routed: bool = False,
) -> None:
    """Run a changing script on every host under the lock; `audit` goes into the log of each.

    `routed`: on those too that only balance.
    """
    from deployer.cli.session import open_session
    from deployer.commands import phases
    from deployer.report import must
    from deployer.script import limit
    from freehold.errors import UsageError

    session = open_session(context, target, accessories=routed)
    hosts = session.config.routed_hosts if routed else session.config.hosts
    if not hosts:
        raise UsageError("no host is left to work on", hint="no role has one of those asked for")
    with session.fleet(ahead=True) as fleet, lock_held(context, session, fleet, why, wait):
        scripts = {host: script(session, host) for host in hosts}
        if audit:
            line = f"{session.who()} {audit}"
            scripts = {host: phases.audited(session.config, one, line) for host, one in scripts.items()}
        must(scripts, fleet.run(scripts, title, timeout=limit(scripts, 600)), why)


def rows(
    context: Context,
    fields: Sequence[str],
    found: Iterable[Sequence[object]],
    errors: Mapping[str, FreeholdError],
) -> int:
    """A table, or with `--json` a list of objects, the host first; the exit code.

    A host that could not be asked is a row too, with its `problem`; what to do about it is said below.
    """
    shown = [(*row, "") for row in found]
    shown += [(host, *[""] * (len(fields) - 1), problem(host, error)) for host, error in errors.items()]
    if context.console.json:
        context.console.data([dict(zip((*fields, "problem"), row, strict=True)) for row in shown])
    elif errors:
        context.console.table((*fields, "problem"), shown)
    else:
        context.console.table(fields, [row[:-1] for row in shown])
    return unanswered(context, errors)


def problem(host: str, error: FreeholdError) -> str:
    """Why a host could not be asked, for a table in which it has a row."""
    return error.message.removeprefix(f"{host}: ")


def unanswered(context: Context, errors: Mapping[str, FreeholdError]) -> int:
    """Say which hosts could not be asked, and what to do about it; the exit code."""
    for error in errors.values():
        context.console.error(error)
    return int(bool(errors))


@contextlib.contextmanager
def lock_held(context: Context, session: Session, fleet: Fleet, why: str, wait: int) -> Iterator[None]:
    """Hold the deploy lock for the block; `wait` in seconds. LockedError where somebody else keeps it."""
    with looked_at(context, session, fleet, why, wait, lambda: None):
        yield


@contextlib.contextmanager
def looked_at(
    context: Context, session: Session, fleet: Fleet, why: str, wait: int, look: Callable[[], T]
) -> Iterator[T]:
    """As `lock_held`, and yields what `look` says of the hosts while nobody else can change them.

    They are looked at as the lock is asked for, and once more where somebody else had it meanwhile.
    """
    from deployer import lock
    from deployer.commands.lock import owner_line
    from freehold.errors import FreeholdError

    owner = owner_line(session.who(), why, session.now())
    # The others connect while the lock is asked for.
    fleet.connect_ahead()
    primary = fleet[session.whole.lock_host]
    seen: list[T] = []
    problem: list[FreeholdError] = []

    def look_ahead() -> None:
        # That somebody else has the lock is the better reason where there are two.
        try:
            seen.append(look())
        except FreeholdError as exc:
            problem.append(exc)

    with lock.held(
        primary,
        session.whole.name,
        owner,
        wait=wait,
        on_wait=context.console.info,
        meanwhile=look_ahead,
    ) as held:
        fleet.lock_lost, fleet.lock_host = held.lost, primary.name
        if held.alone and problem:
            raise problem[0]
        yield seen[0] if held.alone else look()


def confirm(question: str, confirmed: bool) -> None:
    """Ask unless `-y` was given; "no" ends the command.

    An answer may be piped in. UsageError: there is no terminal, and none was.
    """
    from freehold.errors import UsageError

    if confirmed:
        return
    try:
        if sys.stdin is None:
            raise EOFError
        click.confirm(question, abort=True, err=True)
    except (click.Abort, EOFError) as exc:
        ended = isinstance(exc, EOFError) or isinstance(exc.__context__, EOFError)
        if not ended or (sys.stdin is not None and sys.stdin.isatty()):
            raise
        click.echo(err=True)
        raise UsageError("nobody is here to answer", hint="add -y to do it without a question") from exc


def leashed(fragment: str) -> str:
    """Shell text that ends, with all that it has started, when its standard input does.

    sshd tells a program nothing when its reader goes; one that waits for a log would stay for ever.
    """
    return f"""setsid bash -c {shlex.quote(fragment)} </dev/null & main=$!
# It has no group of its own before setsid has run.
{{ cat >/dev/null; until kill -TERM -- "-$main"; do kill -0 "$main" || break; sleep 0.1; done; }} \\
    <&0 2>/dev/null & watch=$!
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
    several; the worst exit code. Ctrl-C ends the reading, and what is `endless` on the hosts; of anything
    else nobody knows then how it ended.
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
        return worst(fleet.each(keys, work).all().values())
    except KeyboardInterrupt:
        stop.set()
        if not endless:
            raise
        return 0


def collect_all(context: Context, fleet: Fleet, commands: Sequence[tuple[Mapping[str, str], str]]) -> int:
    """Run a command on each of the places, which have a `host`, and print one document when all have ended:
    the place, exit code, output, and the problem where there is no exit code; the worst exit code.
    """
    outputs: list[list[str]] = [[] for _ in commands]

    def work(key: str) -> int:
        place, command = commands[int(key)]
        return fleet[place["host"]].follow(bash(command), outputs[int(key)].append, threading.Event())

    answers = fleet.each([str(index) for index in range(len(commands))], work)
    found = []
    for index, (place, _) in enumerate(commands):
        code, error = answers.values.get(str(index)), answers.errors.get(str(index))
        why = problem(place["host"], error) if error else "the connection was lost" if code == LOST else ""
        shown = None if why else code
        found.append({**place, "code": shown, "output": "\n".join(outputs[index]), "problem": why})
    context.console.data(found)
    return worst([*answers.values.values(), *(1 for _ in answers.errors)])


def worst(codes: Iterable[int]) -> int:
    """The exit code of several commands; of one whose connection was lost it is 1."""
    return max((1 if code == LOST else code for code in codes), default=0)


def raw(fleet: Fleet, host: str, command: str) -> int:
    """Run a command on one host and hand its output on byte by byte; its exit code."""
    from deployer.terminal import raw as copy

    return copy(fleet[host], bash(command))
