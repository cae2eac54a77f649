"""`freehold secrets`: what each command prints, and its exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from deployer.cli.init import init
from deployer.secrets.cli import secrets
from deployer.secrets.dotenv import Text, parse
from freehold.command import Context, run
from freehold.console import Console


def call(root: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    context = Context(Console(out=out, err=err, color=False), root, {"PATH": "/usr/bin:/bin"})
    return run(secrets, words, context), out.getvalue(), err.getvalue()


def test_extract(tmp_path: Path) -> None:
    assert call(tmp_path, "extract", "B", '{"a/B": "x"}')[:2] == (0, "x\n")
    code, out, err = call(tmp_path, "extract", "C", '{"a/B": "x"}')
    assert (code, out) == (2, "")
    assert "'C' was not fetched" in err


@pytest.mark.parametrize("value", ["plain", "it's", 'a"b', "$x \\ # y", "two\nlines"])
def test_extract_all_is_read_back(tmp_path: Path, value: str) -> None:
    code, out, _ = call(tmp_path, "extract_all", json.dumps({"a/B": value}))
    assert code == 0
    (entry,) = parse(out, "f").entries
    assert (entry.name, entry.value) == ("B", (Text(value),))


def test_print(tmp_path: Path) -> None:
    (tmp_path / ".kamal").mkdir()
    (tmp_path / ".kamal/secrets").write_text("A=1\nB=$(echo 2)\n")
    (tmp_path / ".kamal/secrets.eu").write_text("A=eu\n")
    assert call(tmp_path, "print")[:2] == (0, "A=1\nB=2\n")
    assert call(tmp_path, "print", "-d", "eu")[:2] == (0, "A=eu\n")
    assert json.loads(call(tmp_path, "print", "--json")[1]) == {"A": "1", "B": "2"}


def test_fetch_tells_what_is_wrong(tmp_path: Path) -> None:
    code, _, err = call(tmp_path, "fetch", "--adapter", "bitwaden", "X")
    assert code == 2
    assert "did you mean 'bitwarden'?" in err


def test_print_shows_what_a_deploy_would_use(tmp_path: Path) -> None:
    """`secrets_path`, and what the configuration's template sets."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/deploy.yml").write_text("# <% ENV['A'] = 'a' %>\nsecrets_path: own/keys\n")
    (tmp_path / "config/deploy.eu.yml").write_text("labels: {}\n")
    (tmp_path / "other.yml").write_text("secrets_path: own/other\n")
    for name in ("keys", "keys.eu", "other"):
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / name).write_text(f"FROM={name}${{A-}}\n")
    assert call(tmp_path, "print")[:2] == (0, "FROM=keysa\n")
    assert call(tmp_path, "print", "-d", "eu")[:2] == (0, "FROM=keys.eua\n")
    assert call(tmp_path, "print", "-c", "other.yml")[:2] == (0, "FROM=other\n")
    assert call(tmp_path, "print", "--path", "own/other")[:2] == (0, "FROM=other\n")
    assert "no such file" in call(tmp_path, "print", "-c", "gone.yml")[2].lower()


def test_init_leaves_kamals_secrets_in_charge(tmp_path: Path) -> None:
    """A .freehold/secrets beside them would be read in their place."""
    (tmp_path / ".kamal").mkdir()
    (tmp_path / ".kamal/secrets.eu").write_text("A=eu\n")
    out = io.StringIO()
    context = Context(Console(out=out, err=out, color=False), tmp_path, {"PATH": "/usr/bin:/bin"})
    assert run(init, [], context) == 0
    assert (tmp_path / "config/deploy.yml").exists()
    assert not (tmp_path / ".freehold/secrets").exists()
    (tmp_path / "config/deploy.eu.yml").write_text("labels: {}\n")
    assert call(tmp_path, "print", "-d", "eu")[1:] == ("A=eu\n", "")
    (tmp_path / ".freehold").mkdir()
    (tmp_path / ".freehold/secrets-common").write_text("B=b\n")
    code, shown, said = call(tmp_path, "print", "-d", "eu")
    assert (code, shown) == (0, "B=b\n")
    assert ".kamal/secrets.eu is not read, as there is .freehold/secrets-common" in said
