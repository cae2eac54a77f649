"""Aliases: expanded where no command has the name, with errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.cli.aliases import expand, hidden, options
from deployer.cli.main import COMMANDS, cli
from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import ConfigError

ALIASES = {
    "shell": "app exec -i --reuse sh",
    "say": "app exec --reuse 'echo \"two words\"'",
    "sh": "shell",
    "round": "about",
    "about": "round",
    "typo": "depoly now",
    "open": "app 'exec",
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["shell"], ["app", "exec", "-i", "--reuse", "sh"]),
        (["sh", "-d", "staging"], ["app", "exec", "-i", "--reuse", "sh", "-d", "staging"]),
        (["say"], ["app", "exec", "--reuse", 'echo "two words"']),
        (["deploy", "shell"], ["deploy", "shell"]),
        (["nothing"], ["nothing"]),
        ([], []),
    ],
)
def test_an_alias_stands_for_its_words(given: list[str], expected: list[str]) -> None:
    assert expand(given, ALIASES, COMMANDS) == expected


def test_help_explains_what_an_alias_stands_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/deploy.yml").write_text(
        "service: a\nservers: [h]\naliases: {shell: app exec -i --reuse sh}\n"
    )
    context = Context(console=Console(color=False), environ={"PATH": "/usr/bin:/bin"}, root=tmp_path)
    assert run(cli, ["help", "shell"], context) == 0
    assert capsys.readouterr().out.startswith("Usage: freehold app exec ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("round", "leads to itself: round → about → round"),
        ("typo", "stands for 'depoly', which is no command"),
        ("open", "is no command line"),
    ],
)
def test_an_alias_that_leads_nowhere(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand([name], ALIASES, COMMANDS, "config/deploy.yml")
    assert message in caught.value.message
    assert str(caught.value.where) == f"config/deploy.yml aliases.{name}"
    if name == "typo":
        assert caught.value.hint == "did you mean 'deploy'?"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-d", "staging", "x"], (None, "staging")),
        (["--destination=eu", "-c", "other.yml"], (Path("other.yml"), "eu")),
        (["-d"], (None, None)),
    ],
)
def test_the_file_is_the_one_that_the_words_name(words: list[str], expected: tuple[Path, str]) -> None:
    assert options(words) == expected


def test_a_command_hides_an_alias() -> None:
    assert hidden({"lab": "app exec x", "mine": "details"}, COMMANDS) == ["lab"]


def call(root: Path, *words: str) -> tuple[int, str]:
    """Run the command line in a project; exit code and what it said."""
    import io

    err = io.StringIO()
    context = Context(console=Console(err=err, color=False), root=root, environ={})
    return run(cli, list(words), context), err.getvalue()


def test_the_command_line_knows_the_projects_aliases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "which")[0] == 2
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "deploy.yml").write_text(
        "service: a\nservers: [h]\naliases:\n  which: version\n  bad: depoly\n"
    )
    (tmp_path / "config" / "deploy.eu.yml").write_text("aliases: {where: version}\n")
    assert call(tmp_path, "which") == (0, "")
    assert call(tmp_path, "-q", "which", "--json")[0] == 0
    code, said = call(tmp_path, "whihc")
    assert code == 2 and "No such command" in said
    code, said = call(tmp_path, "bad")
    assert code == 2 and "config/deploy.yml aliases.bad" in said
    assert call(tmp_path, "where")[0] == 2
    # The destination's own aliases count where the words name it.
    assert call(tmp_path, "where", "-d", "eu")[0] == 0
    code, said = call(tmp_path, "where", "-d", "eu", "--nope")
    assert code == 2 and "No such option '--nope'" in said and "`freehold version --help`" in said
    assert "0." in capsys.readouterr().out
