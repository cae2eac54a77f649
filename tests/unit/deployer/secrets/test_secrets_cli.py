"""`freehold secrets`: what each command prints, and its exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

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
