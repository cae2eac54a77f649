"""Command lines as words: a real shell is the measure."""

from __future__ import annotations

import subprocess

import pytest

from freehold.shellwords import split_words

LINES = [
    "",
    "  ",
    "bin/rails db:migrate",
    "postgres -c 'max connections=5'",
    r'say "costs \$5" "a \`tick\`" "a \" b" "a \\ b"',
    r'keep "\d+ \n \'"',
    r"out \$5 \` \" \' \\ x\ y",
    "'single \\$ \\' end",
    '""',
    "a''b \"\" ''",
    "a\"b c\"d'e f'g",
    "over\\\nlines \"in \\\nquotes\" 'in \\\nsingle'",
    "tab\tand\nline",
    "a \\\n b",
    "# no comment",
]


@pytest.mark.parametrize("line", LINES)
def test_words_are_those_of_a_shell(line: str) -> None:
    script = line.replace("#", "\\#").replace("\tand\n", "\tand ")
    told = subprocess.run(
        ["bash", "-c", f"for word in {script}\ndo printf '%s\\0' \"$word\"; done"],
        capture_output=True,
        text=True,
    )
    assert split_words(line) == told.stdout.split("\0")[:-1], told.stderr


def test_what_a_shell_would_fill_in_or_run_is_text() -> None:
    assert split_words('a $HOME `id` "$(id)" *;x #y') == ["a", "$HOME", "`id`", "$(id)", "*;x", "#y"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [("a 'b", "No closing quotation"), ('a "b\\"', "No closing quotation"), ("a \\", "No escaped character")],
)
def test_what_is_left_open_is_no_command_line(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        split_words(line)
