"""Who is asked before something goes, and what happens where nobody can answer."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest

from deployer.cli.work import confirm
from freehold.errors import UsageError
from tests.unit.deployer.test_hosts_asked import FILE, freehold

# `upgrade` and `backup restore` ask when they have seen the hosts.
ASKING = [
    "remove",
    "app remove",
    "proxy remove",
    "proxy reboot",
    "proxy upgrade",
    "accessory remove db",
    "accessory remove_service_directory db",
    "accessory upgrade db",
]


@pytest.mark.parametrize("words", ASKING)
def test_where_nobody_can_answer_it_says_what_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, _, err = freehold(tmp_path, *words.split(), file=FILE)
    assert code == 2, err
    assert "nobody is here to answer" in err and "add -y" in err and "interrupted" not in err


@pytest.mark.parametrize("stdin", [io.StringIO(""), None])
def test_no_terminal_and_no_answer(stdin: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    confirm("Remove it?", True)
    with pytest.raises(UsageError, match="nobody is here to answer"):
        confirm("Remove it?", False)


def test_an_answer_may_be_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    confirm("Remove it?", False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    with pytest.raises(click.Abort):
        confirm("Remove it?", False)


def test_on_a_terminal_the_end_of_input_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(""))
    with pytest.raises(click.Abort):
        confirm("Remove it?", False)
