"""Every command and flag of Kamal 2.12 is understood here, under its own name."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deployer.cli.appexec import spread, variable, variables
from deployer.cli.main import cli
from deployer.cli.options import lock_wait, log_options
from deployer.commands import hostproxy
from deployer.commands.logs import logs_command
from deployer.commands.wishes import LogWishes
from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import UsageError
from freehold.secret import Secret
from tests.unit.deployer import samples

EVERYWHERE = {
    *("-v", "-q", "--version", "-p", "-h", "-r", "-c", "-d", "-H"),
    *("--lock-wait", "--lock-wait-timeout", "--lock-wait-interval"),
}
"""What each command of Kamal's takes besides its own."""
KAMALS = {
    "setup deploy redeploy": "-P --no-cache",
    "init": "--bundle",
    "remove": "-y",
    "upgrade": "-y --rolling",
    "rollback details audit config docs version": "",
    "accessory: boot upload directories reboot start stop restart pull_image remove_container "
    "remove_image remove_service_directory details": "",
    "accessory: exec": "-i --reuse --raw",
    "accessory: logs": "-s -n -g -f -T --grep-options",
    "accessory: remove": "-y",
    "accessory: upgrade": "--rolling -y",
    "app: boot start stop live remove remove_container remove_containers remove_images "
    "remove_app_directories details containers images version": "",
    "app: exec": "-i --reuse -e --detach --raw",
    "app: stale_containers": "-s",
    "app: logs": "-s -n -g -f -T --grep-options --container-id",
    "app: maintenance": "--drain-timeout --message",
    "build: deliver pull create remove details": "",
    "build: push dev": "--output --no-cache",
    "lock: status release": "",
    "lock: acquire": "-m",
    "proxy: boot start stop restart remove_container remove_image remove_proxy_directory "
    "boot_config details": "",
    "proxy: reboot upgrade": "--rolling -y",
    "proxy: logs": "-s -n -g -f -T",
    "proxy: remove": "--force",
    "prune: all images": "",
    "prune: containers": "--retain",
    "registry: setup remove login logout": "-L -R",
    "secrets: fetch": "-a --account --from",
    "secrets: extract print": "",
    "server: exec": "-i --raw",
    "server: bootstrap": "",
}


@pytest.mark.parametrize("names", KAMALS)
def test_a_command_takes_the_flags_that_it_has_in_kamal(names: str) -> None:
    above, _, below = names.rpartition(": ")
    group = below_of(cli, above) if above else cli
    for name in below.split():
        found = [flag for option in below_of(group, name).params for flag in option.opts]
        assert EVERYWHERE | set(KAMALS[names].split()) <= set(found), name
        assert len(found) == len(set(found)), name


def test_what_every_command_takes_has_no_say_where_no_host_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(capsys, "version", "-d", "staging", "-r", "web", "--lock-wait") == said(capsys, "version")
    words = ("secrets", "extract", "A", '{"A": "b"}', "-c", "none.yml", "-h", "web-1", "-p", "-H")
    assert said(capsys, *words, "--version=v1", "--lock-wait-timeout", "5") == "b\n"
    refused = run(cli, ["status", "--lock-wait", "5"], Context(console=Console(color=False)))
    assert refused == 2 and "write --lock-wait=5" in capsys.readouterr().err


def below_of(group: click.Command, name: str) -> click.Command:
    assert isinstance(group, click.Group)
    found = group.get_command(click.Context(group), name)
    assert found is not None, name
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints, which ends well."""
    assert run(cli, words, Context(console=Console(color=False), environ={}, root=Path("/"))) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("help", "freehold [OPTIONS] COMMAND"),
        ("help deploy", "freehold deploy"),
        ("help app", "freehold app [OPTIONS] COMMAND"),
        ("app help", "freehold app [OPTIONS] COMMAND"),
        ("help app exec", "freehold app exec"),
        ("app help exec", "freehold app exec"),
        ("secrets help fetch", "freehold secrets fetch"),
        ("lab fault help", "freehold lab fault [OPTIONS] COMMAND"),
        ("app help stale-containers", "freehold app stale_containers"),
        ("app stale-containers --help", "freehold app stale_containers"),
        ("accessory pull-image --help", "freehold accessory pull_image"),
        ("proxy boot-config --help", "freehold proxy boot_config"),
        ("prune containers --help", "freehold prune containers"),
    ],
)
def test_help_is_a_command_and_a_dash_stands_for_an_underline(
    capsys: pytest.CaptureFixture[str], words: str, usage: str
) -> None:
    assert said(capsys, *words.split()).startswith(f"Usage: {usage}")


def test_help_knows_near_misses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["app", "help", "exce"], Context(console=Console(color=False))) == 2
    assert "did you mean 'exec'?" in capsys.readouterr().err.lower()


def test_options_for_grep_are_words_of_a_command_line() -> None:
    @click.command()
    @log_options()
    def show(wishes: LogWishes) -> None:
        click.echo(wishes.grep_options)

    assert CliRunner().invoke(show, ["--grep-options", "-i -e 'a b'"]).output == "('-i', '-e', 'a b')\n"
    refused = CliRunner().invoke(show, ["--grep-options", "-e 'a"]).exception
    assert isinstance(refused, UsageError) and '--grep-options "-e \'a" is no command line' in refused.message


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("", 100),
        ("-f", 10),
        ("-f -n 0", 0),
        ("-f -n 5 -g error", 5),
        ("-f -g error", None),
        ("-f -s 10m", None),
        ("-g error", None),
    ],
)
def test_how_much_of_a_log_is_shown(words: str, lines: int | None, tmp_path: Path) -> None:
    found: list[LogWishes] = []

    @click.command()
    @log_options()
    def show(wishes: LogWishes) -> None:
        found.append(wishes)

    assert CliRunner().invoke(show, words.split()).exit_code == 0
    config, wishes = samples.config(tmp_path), found[0]
    shown = logs_command(config, config.role("web"), wishes)
    assert re.findall(r"--tail (\d+)", shown) == ([] if lines is None else [str(lines)])
    before = hostproxy.logs_command(wishes).partition("tail --follow")[0]
    assert re.findall(r"tail --lines (\d+)", before) == ([str(lines)] if lines else [])
    assert ("xargs" in before) == (lines != 0)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("", 0),
        ("--lock-wait", 900),
        ("--lock-wait --lock-wait-timeout 60 --lock-wait-interval 5", 60),
        ("--lock_wait --lock_wait_timeout=60", 60),
        ("--lock-wait=30", 30),
        ("--lock_wait=30", 30),
        ("--lock-wait-timeout 60", 0),
    ],
)
def test_how_long_the_lock_is_waited_for(words: str, seconds: int) -> None:
    @click.command()
    @lock_wait
    def show(lock_wait: int) -> None:
        click.echo(lock_wait)

    settings = cli.context_settings
    done = CliRunner().invoke(show, words.split(), token_normalize_func=settings["token_normalize_func"])
    assert done.output == f"{seconds}\n"


def test_the_word_after_lock_wait_is_not_its_value() -> None:
    @click.command()
    @click.argument("version", required=False)
    @click.option("-q", is_flag=True)
    @lock_wait
    def rollback(version: str | None, q: bool, lock_wait: int) -> None:
        click.echo(f"{version} {lock_wait}")

    def said(words: str) -> str:
        return CliRunner().invoke(rollback, words.split()).output.strip()

    assert said("--lock-wait 42") == "42 900"
    assert said("--lock-wait=42") == "None 42"
    assert said("42 --lock-wait") == said("--lock-wait -q 42") == "42 900"
    assert said("-- --lock-wait") == "--lock-wait 0"

    @click.command()
    @lock_wait
    def deploy(lock_wait: int) -> None:
        click.echo(lock_wait)

    # There it can mean nothing else, so the other way of writing it is told.
    refused = CliRunner().invoke(deploy, ["--lock-wait", "42"]).exception
    assert isinstance(refused, UsageError) and refused.hint == "write --lock-wait=42"
    assert "--lock-wait[=SECONDS]" in CliRunner().invoke(deploy, ["--help"]).output


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("A=b", ("A", "b")),
        ("A:b", ("A", "b")),
        ("A=", ("A", "")),
        ("URL=http://x", ("URL", "http://x")),
        ("URL:http://x/?a=b", ("URL", "http://x/?a=b")),
    ],
)
def test_more_environment_for_exec(given: str, expected: tuple[str, str]) -> None:
    assert variable(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-e A:1 B:2 rake db:migrate", "-e A:1 -e B:2 rake db:migrate"),
        ("--env A:1 B:2 C: rake", "--env A:1 -e B:2 -e C: rake"),
        ("--env=A:1 B:2 rake", "--env=A:1 -e B:2 rake"),
        ("-eA:1 B:2 rake", "-eA:1 -e B:2 rake"),
        ("rake -e A:1 B:2 -p", "rake -e A:1 -e B:2 -p"),
        ("-e A:1 -p db:migrate", "-e A:1 -p db:migrate"),
        # Freehold's own way of writing it takes one.
        ("-e A=1 db:migrate", "-e A=1 db:migrate"),
        ("-e A:1 -- B:2 -e C:3 D:4", "-e A:1 -- B:2 -e C:3 D:4"),
        ("-p rake db:migrate", "-p rake db:migrate"),
        ("-e", "-e"),
    ],
)
def test_one_e_takes_every_pair_behind_it(given: str, expected: str) -> None:
    assert spread(given.split()) == expected.split()


def test_a_command_line_is_no_pair() -> None:
    assert spread(["-e", "A:1", "puts Foo::Bar"]) == ["-e", "A:1", "puts Foo::Bar"]
    command = below_of(below_of(cli, "app"), "exec")
    with command.make_context("exec", ["-e", "A:1", "B:2", "rake"]) as ctx:
        assert (ctx.params["env"], ctx.params["command"]) == (("A:1", "B:2"), ("rake",))


@pytest.mark.parametrize("given", ["=b", ":b", "", "#A=b", "A B=c"])
def test_environment_without_a_name(given: str) -> None:
    with pytest.raises(UsageError, match="is no NAME=VALUE"):
        variables([given], {})


def test_environment_that_this_computer_has() -> None:
    assert variables(["A", "B=", "C"], {"A": "here", "B": "not asked", "C": ""}) == {
        "A": Secret("here"),
        "B": Secret(""),
        "C": Secret(""),
    }
    with pytest.raises(UsageError, match="-e D: there is no variable of that name here"):
        variables(["D"], {"A": "here"})
