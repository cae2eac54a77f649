"""Options that many commands share, with Kamal's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from deployer.commands.wishes import LogWishes
from freehold.command import common_options, pass_context
from freehold.errors import UsageError
from freehold.shellwords import split_words

LOCK_WAIT = 900
"""Seconds to wait for the lock where `--lock-wait` stands alone; Kamal's."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """Which file, destination, hosts and roles a command is about; `lab` means the lab's machines.

    `skip_hooks`: none of the project's hooks is run.
    """

    config_file: Path | None = None
    destination: str | None = None
    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    primary: bool = False
    version: str | None = None
    lab: bool = False
    skip_hooks: bool = False


def _words(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if value else ()


def _argv(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    try:
        return tuple(split_words(value or ""))
    except ValueError as exc:
        raise UsageError(
            f"{parameter.opts[-1]} {value!r} is no command line: {exc}", hint="quotes come in pairs"
        ) from exc


def _wrapped(
    function: F, options: Sequence[Callable[[Any], Any]], gather: Callable[[dict[str, Any]], None]
) -> F:
    """The command with more options, whose values `gather` makes into what the command takes."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gather(kwargs)
        return function(*args, **kwargs)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    if hasattr(function, "__click_params__"):
        wrapped.__click_params__ = function.__click_params__  # type: ignore[attr-defined]
    decorated: Any = wrapped
    for option in options:
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def target_options(function: F) -> F:
    """Add `-c -d -r -h -p -H --version --lab`; the command gets them as one `target`."""
    names = ("config_file", "destination", "roles", "hosts", "primary", "version", "lab", "skip_hooks")

    def gather(kwargs: dict[str, Any]) -> None:
        kwargs["target"] = Target(**{name: kwargs.pop(f"target_{name}") for name in names})

    options = (
        click.option("-H", "--skip-hooks", "target_skip_hooks", is_flag=True, help="Run no hooks."),
        click.option(
            "--lab", "target_lab", is_flag=True, help="Work on the lab's machines instead of production."
        ),
        click.option(
            "--version",
            "target_version",
            help="This version, in place of the one of the code, or of the one that serves.",
        ),
        click.option("-p", "--primary", "target_primary", is_flag=True, help="Only the primary host."),
        click.option(
            "-h",
            "--hosts",
            "target_hosts",
            callback=_words,
            help="Only these hosts, with commas (* matches).",
        ),
        click.option(
            "-r",
            "--roles",
            "target_roles",
            callback=_words,
            help="Only these roles, with commas (* matches).",
        ),
        click.option("-d", "--destination", "target_destination", help="Destination: staging, production, …"),
        click.option(
            "-c",
            "--config-file",
            "target_config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Configuration file (default: config/deploy.yml).",
        ),
    )
    return _wrapped(function, options, gather)


class FlagOrValue(click.Option):
    """A flag that may have a value behind `=`. The word after it is never its value, as with Kamal's flag.

    `rollback --lock-wait 42` rolls back to 42.
    """

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parse, free = (
            parser.parse_args,
            not any(isinstance(one, click.Argument) for one in ctx.command.params),
        )

        def parse_args(args: list[str]) -> Any:
            end = args.index("--") if "--" in args else len(args)
            words = list(args)
            for index, word in enumerate(args[:end]):
                if word.replace("_", "-") in self.opts:
                    words[index] = f"{word}={self.flag_value}"
                    after = args[index + 1] if index + 1 < len(args) else ""
                    if free and after.isdigit():
                        raise UsageError(f"{word} takes its value behind =", hint=f"write {word}={after}")
            return parse(words)

        parser.parse_args = parse_args

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return (record[0].replace(" [=", "[="), record[1]) if record else None


def lock_wait(function: F) -> F:
    """Add `--lock-wait[=SECONDS]`, and Kamal's words for the same; the command gets `lock_wait`, seconds."""

    def gather(kwargs: dict[str, Any]) -> None:
        limit = kwargs.pop("lock_wait_timeout")
        if kwargs["lock_wait"] and limit is not None:
            kwargs["lock_wait"] = limit

    options = (
        click.option(
            "--lock-wait-interval",
            type=click.IntRange(1),
            expose_value=False,
            hidden=True,
            help="Kamal's; here the lock is passed on at once.",
        ),
        click.option(
            "--lock-wait-timeout",
            type=click.IntRange(0),
            hidden=True,
            help="Kamal's: the SECONDS of --lock-wait.",
        ),
        click.option(
            "--lock-wait",
            cls=FlagOrValue,
            type=click.IntRange(0),
            is_flag=False,
            flag_value=LOCK_WAIT,
            default=0,
            metavar="[=SECONDS]",
            help=f"Wait for the lock, {LOCK_WAIT} seconds where none are given.",
        ),
    )
    return _wrapped(function, options, gather)


def changing(function: F) -> F:
    """The options of a command that changes something."""
    decorated: Any = function
    for option in (pass_context, common_options, lock_wait, target_options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def reading(function: F) -> F:
    """The options of a command that only looks, or takes no lock."""
    decorated: Any = function
    for option in (pass_context, common_options, target_options, lockless):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def lockless(function: F) -> F:
    """Take Kamal's words for waiting for the lock, without a meaning where none is taken."""
    seconds = click.IntRange(0)
    for option in (
        _unused("--lock-wait-interval", type=seconds),
        _unused("--lock-wait-timeout", type=seconds),
        _unused("--lock-wait", type=seconds, cls=FlagOrValue, is_flag=False, flag_value=LOCK_WAIT),
    ):
        function = option(function)
    return function


def hostless(function: F) -> F:
    """Take what every command of Kamal's takes, without a meaning where neither file nor host is asked.

    Applied after all others: an option that the command has of its own keeps its meaning.
    """
    own = {flag for parameter in getattr(function, "__click_params__", ()) for flag in parameter.opts}
    for words, is_flag in (
        ("-H --skip-hooks", True),
        ("-p --primary", True),
        ("--version", False),
        ("-h --hosts", False),
        ("-r --roles", False),
        ("-d --destination", False),
        ("-c --config-file", False),
    ):
        flags = words.split()
        if own.isdisjoint(flags):
            function = _unused(*flags, is_flag=is_flag)(function)
    return lockless(function)


def _unused(*flags: str, **how: Any) -> Callable[[F], F]:
    name = flags[-1].replace("-", "_")
    return click.option(*flags, f"unused{name}", hidden=True, expose_value=False, **how)


def log_options(follow_help: str = "Go on with new lines.") -> Callable[[F], F]:
    """Add `-f -n -s -g -o -T`; the command gets them as one `wishes`."""

    def gather(kwargs: dict[str, Any]) -> None:
        found = {name: kwargs.pop(name) for name in ("follow", "lines", "since", "grep", "grep_options")}
        if found["lines"] is None and not found["since"] and not found["grep"]:
            found["lines"] = 10 if found["follow"] else 100
        kwargs["wishes"] = LogWishes(**found, timestamps=not kwargs.pop("skip_timestamps"))

    options = (
        click.option("-T", "--skip-timestamps", is_flag=True, help="No timestamps."),
        click.option("-o", "--grep-options", callback=_argv, help="Options for grep."),
        click.option("-g", "--grep", help="Only lines that match this pattern."),
        click.option("-s", "--since", help="Only since then: 10m, 2h, 2026-01-31T12:00:00Z."),
        click.option(
            "-n",
            "--lines",
            type=click.IntRange(0),
            help="Lines per host (default: 100; with -f 10; with -s or -g all).",
        ),
        click.option("-f", "--follow", is_flag=True, help=follow_help),
    )
    return lambda function: _wrapped(function, options, gather)


confirmed_option = click.option("-y", "--confirmed", is_flag=True, help="Do not ask.")
rolling_option = click.option("--rolling", is_flag=True, help="One host after the other.")
skip_push = click.option("-P", "--skip-push", is_flag=True, help="Do not build; use the image that is there.")
no_cache = click.option("--no-cache", is_flag=True, help="Build every layer anew.")
registry = click.option(
    "--registry/--no-registry",
    "registry",
    default=None,
    help="Bring the image by the registry, or over SSH (default: the registry where the file has one).",
)
dry_run = click.option("--dry-run", is_flag=True, help="Show per host what would run; change nothing.")
