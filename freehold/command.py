"""What every click command shares: context, common options, errors to exit codes.

    @click.command()
    @common_options
    @pass_context
    def up(context: Context, ...) -> None: ...

`-q`, `-v` and `--json` may stand before or after the command's name.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click

from freehold.console import Console
from freehold.errors import FreeholdError
from freehold.paths import cache_dir, runtime_dir, state_dir
from freehold.process import LocalRunner, Runner

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Context:
    """What a command is given: the console, a runner, the project's root, the environment."""

    console: Console = field(default_factory=Console)
    root: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        """The door for local processes; each command shows with `-v`."""
        if self._runner is None:
            self._runner = LocalRunner(debug=lambda line: self.console.detail(f"$ {line}"))
        return self._runner


RESULT = "freehold.result"
"""Under this name click's context keeps what a command returned, for what it closes at its end."""
_pass_context = click.make_pass_decorator(Context, ensure=True)


def pass_context(function: F) -> F:
    """Give the command its `Context`, and keep what it returns."""

    @functools.wraps(function)
    def kept(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        click.get_current_context().meta[RESULT] = result
        return result

    return _pass_context(kept)  # type: ignore[return-value]


def _set(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            console = ctx.ensure_object(Context).console
            setattr(console, name, True)
            if name == "json":
                console.quiet = True

    return callback


def common_options(function: F) -> F:
    """Add `-q/--quiet`, `-v/--verbose` and `--json`; they act on the context's console."""
    for flags, name, text in (
        (("--json",), "json", "Print the result as JSON."),
        (("-v", "--verbose"), "verbose", "Show commands and decisions."),
        (("-q", "--quiet"), "quiet", "Show results and errors only."),
    ):
        function = click.option(
            *flags,
            f"_{name}",
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set(name),
            help=text,
        )(function)
    return function


class Group(click.Group):
    """A group that has `help [COMMAND]…`, takes `-` for `_` in names, and tells of near misses."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that very name, or `help`, which stands in no list."""
        found = super().get_command(ctx, cmd_name)
        return help_ if found is None and cmd_name == "help" else found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, under the command's own name, and with the near miss in the error."""
        if args and self.get_command(ctx, args[0]) is None:
            named = args[0].replace("-", "_")
            args = [named if self.get_command(ctx, named) else args[0], *args[1:]]
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            from freehold.settings import near

            guess = near(args[0], self.list_commands(ctx)) if args else None
            if guess and "Did you mean" not in exc.message:
                raise click.UsageError(f"{exc.message} Did you mean '{guess}'?", ctx) from exc
            raise


@click.command("help")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Explain a command."""
    assert ctx.parent is not None
    above, rest = ctx.parent, list(names)
    while rest and isinstance(above.command, click.Group):
        name, command, rest = above.command.resolve_command(above, rest)
        assert command is not None
        above = click.Context(command, parent=above, info_name=name, **command.context_settings)
    click.echo(above.get_help())


class LazyGroup(Group):
    """A group whose commands are imported when they are called for.

    `lazy` maps a command's name to `module:attribute` and its one-line help, so that
    `freehold --help` imports none of them.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which they were declared."""
        return [*self.lazy, *(name for name in self.commands if name not in self.lazy)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported on first use."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        from importlib import import_module

        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        self.commands[cmd_name] = command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the help given in `lazy`, importing nothing."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self.lazy:
                rows.append((name, self.lazy[name][1]))
                continue
            command = self.commands[name]
            if not command.hidden:
                rows.append((name, command.get_short_help_str(limit=80)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def run(command: click.Command, argv: Sequence[str] | None = None, context: Context | None = None) -> int:
    """Run a click command and return its exit code; no traceback reaches a person.

    0 done, 1 failed, 2 wrong input, 130 Ctrl-C, 143 SIGTERM.
    """
    context = context or Context()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        result = command.main(
            args=None if argv is None else list(argv),
            prog_name="freehold",
            standalone_mode=False,
            obj=context,
        )
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.exceptions.NoArgsIsHelpError as exc:
        # Nobody has said anything wrong yet: what follows is the help of the group, and no error.
        if context.console.json:
            context.console.error(FreeholdError("a command is missing", hint=_usage_hint(exc)))
        else:
            exc.show(context.console.err)
        return 2
    except click.UsageError as exc:
        context.console.error(FreeholdError(exc.format_message(), hint=_usage_hint(exc)))
        return 2
    except click.ClickException as exc:
        context.console.error(exc)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        context.console.warn("interrupted")
        return 130
    except Terminated:
        context.console.warn("ended by SIGTERM")
        return 143
    except FreeholdError as exc:
        context.console.error(exc)
        return exc.exit_code
    except BrokenPipeError:
        # `freehold app logs | head`: the reader has gone, which is no failure.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - must outlive this function
        return 0
    except OSError as exc:
        context.console.error(_translated(exc, context.environ))
        return 1
    except Exception as exc:
        if context.console.verbose or context.environ.get("FREEHOLD_TRACEBACK"):
            raise
        context.console.error(
            FreeholdError(
                f"unexpected {type(exc).__name__}: {exc}",
                hint="this is a defect of Freehold; run again with -v and report what it prints",
            )
        )
        return 1


class Terminated(BaseException):
    """SIGTERM, raised in the main thread so that every clean-up runs as it does for Ctrl-C."""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _usage_hint(exc: click.UsageError) -> str:
    return f"`{exc.ctx.command_path} --help` shows how it is used" if exc.ctx is not None else ""


def _translated(exc: OSError, environ: Mapping[str, str]) -> FreeholdError:
    place = f"{exc.filename}: " if exc.filename else ""
    hint = "free some disk space, then run again" if exc.errno == errno.ENOSPC else ""
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and exc.filename:
        hint = _own_place(Path(os.fsdecode(exc.filename)), environ)
    return FreeholdError(f"{place}{exc.strerror or exc}", hint=hint)


def _own_place(path: Path, environ: Mapping[str, str]) -> str:
    """How to put elsewhere what Freehold keeps for itself at `path`; nothing for the user's own files."""
    places = {"STATE": state_dir(environ), "CACHE": cache_dir(environ), "RUNTIME": runtime_dir(environ)}
    for name, place in places.items():
        if place.is_relative_to(path) or path.is_relative_to(place):
            return f"set FREEHOLD_{name} to a directory that this user may write"
    return ""
