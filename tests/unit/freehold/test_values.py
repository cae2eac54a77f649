from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import click
import pytest

from freehold.command import Context, LazyGroup, common_options, pass_context, run
from freehold.console import Console, duration, size
from freehold.errors import ConfigError, StepFailed
from freehold.files import replace_atomically, write_atomic
from freehold.paths import cache_dir, runtime_dir, state_dir
from freehold.secret import Secret, redact
from freehold.source import Location


def test_secret_never_shows() -> None:
    secret = Secret("hunter22")
    assert "hunter22" not in f"{secret} {secret!r} {secret:>20} {[secret]}"
    assert Secret(secret) == secret and secret.reveal() == "hunter22"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_redact_takes_the_longest_first_and_leaves_short_words() -> None:
    text = redact("a=abcd b=abcdef c=on", [Secret("abcd"), Secret("abcdef"), Secret("on")])
    assert text == "a=[redacted] b=[redacted] c=on"


def test_redact_takes_each_line_of_a_secret() -> None:
    key = "-----BEGIN KEY-----\nabcdefghij\n  klmnopqrst==  \nshort\n-----END KEY-----\n"
    assert redact(f"cat: {key}", [Secret(key)]) == "cat: [redacted]"
    said = [redact(line, [Secret(key), Secret("token\n")]) for line in [*key.splitlines(), "a token"]]
    assert said == [
        "-----BEGIN KEY-----",
        "[redacted]",
        "  [redacted]  ",
        "short",
        "-----END KEY-----",
        "a [redacted]",
    ]


def test_write_atomic_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, "old", 0o600)
    with pytest.raises(RuntimeError), replace_atomically(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_directories_follow_the_environment(tmp_path: Path) -> None:
    env = {
        "XDG_CACHE_HOME": str(tmp_path),
        "FREEHOLD_STATE": str(tmp_path / "s"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    assert cache_dir(env) == tmp_path / "freehold"
    assert state_dir(env) == tmp_path / "s"
    assert runtime_dir(env) == tmp_path / "freehold"


def test_words_for_numbers() -> None:
    assert [duration(s) for s in (0.44, 12.3, 185)] == ["0.4 s", "12 s", "3 min 05 s"]
    assert [size(n) for n in (12, 1_400_000)] == ["12 B", "1.4 MB"]


def console(**kwargs: bool) -> tuple[Console, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Console(out=out, err=err, **kwargs), out, err


def test_errors_show_place_details_and_hint() -> None:
    screen, _, err = console()
    screen.error(
        ConfigError("unknown key 'hots'", where=Location("f.yml", 3, 1, "hots"), hint="did you mean 'host'?")
    )
    screen.error(StepFailed("exit code 1", host="web-1", step="pull", returncode=1, output="no space left"))
    text = err.getvalue()
    assert "error: f.yml:3:1 hots: unknown key 'hots'" in text
    assert "hint: did you mean" in text
    assert "web-1: pull: exit code 1" in text and "  | no space left" in text


def test_json_errors_are_objects() -> None:
    screen, _, err = console(json=True)
    screen.error(StepFailed("exit code 1", host="web-1", step="pull", returncode=1))
    found = json.loads(err.getvalue())
    assert (found["host"], found["step"], found["returncode"]) == ("web-1", "pull", 1)


def test_quiet_leaves_results_and_warnings() -> None:
    screen, out, err = console(quiet=True)
    screen.info("progress")
    screen.warn("look")
    with screen.step("work"), screen.board("many", ["a"]) as board:
        board.done("a")
    screen.table(["name", "state"], [["a", "up"]])
    assert err.getvalue() == "warning: look\n"
    assert out.getvalue() == "NAME  STATE\na     up\n"


def test_board_without_a_terminal_is_plain_lines() -> None:
    screen, _, err = console()
    with screen.board("booting", ["a", "bb"]) as board:
        board.update("a", "kernel")
        board.update("a", "kernel")
        board.fail("bb", "panic")
    lines = err.getvalue().splitlines()
    assert len(lines) == 3 and "· a   kernel" in lines[1] and "✗ bb  panic" in lines[2]


@click.group(cls=LazyGroup, lazy={"never": ("no.such.module:x", "never imported")})
@common_options
def cli() -> None:
    """Root."""


@cli.command()
@click.argument("kind")
@common_options
@pass_context
def do(context: Context, kind: str) -> None:
    """Do."""
    match kind:
        case "data":
            context.console.data({"a": 1})
        case "config":
            raise ConfigError("bad")
        case "interrupt":
            raise KeyboardInterrupt
        case "disk":
            raise OSError(28, "No space left on device", "/x")
        case "defect":
            raise RuntimeError("oops")


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (["do", "data"], 0, ""),
        (["do", "config"], 2, "error: bad"),
        (["do", "interrupt"], 130, "interrupted"),
        (["do", "disk"], 1, "free some disk space"),
        (["do", "defect"], 1, "unexpected RuntimeError: oops"),
        (["do"], 2, "Missing argument"),
        (["doo"], 2, "did you mean"),
        (["do", "data", "--nope"], 2, "No such option"),
        (["--help"], 0, ""),
    ],
)
def test_exit_codes(argv: list[str], code: int, word: str) -> None:
    screen, _, err = console()
    assert run(cli, argv, Context(console=screen)) == code
    assert word.lower() in err.getvalue().lower()


def test_a_group_without_a_command_shows_its_help_which_is_no_error() -> None:
    screen, out, err = console()
    assert run(cli, [], Context(console=screen)) == 2
    assert err.getvalue().startswith("Usage: ") and "error:" not in err.getvalue()
    screen, out, err = console()
    screen.json = True
    assert run(cli, [], Context(console=screen)) == 2
    assert json.loads(err.getvalue())["message"] == "a command is missing" and not out.getvalue()


@pytest.mark.parametrize("argv", [["--json", "do", "data"], ["do", "--json", "data"]])
def test_shared_options_stand_anywhere(argv: list[str]) -> None:
    screen, out, _ = console()
    assert run(cli, argv, Context(console=screen)) == 0
    assert screen.json and json.loads(out.getvalue()) == {"a": 1}
