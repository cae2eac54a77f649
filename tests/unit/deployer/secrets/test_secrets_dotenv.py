"""The grammar of secrets files: what Ruby's dotenv reads, and what people expect besides."""

from __future__ import annotations

import pytest

from deployer.secrets.dotenv import Command, Piece, Text, Variable, parse
from freehold.errors import ConfigError


def value(text: str) -> tuple[Piece, ...]:
    (entry,) = parse(text, "f").entries
    return entry.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=bar", "bar"),
        ("A= bar", "bar"),
        ("A =bar  ", "bar"),
        ("  A=bar", "bar"),
        ("export A=bar", "bar"),
        ("A: bar", "bar"),
        ("A=", ""),
        ('A="bar"  # note', "bar"),
        ("A='b # r'", "b # r"),
        ("A=bar # note", "bar"),
        ('A="a\\"b"', 'a"b'),
        ("A='$B $(x)'", "$B $(x)"),
        ("A=a\\$B", "a$B"),
        ('A="a\\${B}"', "a${B}"),
        ("A=\\$(x)", "$(x)"),
        ("A=a\\ b", "a b"),
        ('A="l1\nl2"', "l1\nl2"),
        ("A='l1\n\nl3'", "l1\n\nl3"),
        ('A="a\\nb"', "a\\nb"),
        ("A=a $ b", "a $ b"),
        ("A=x=y=z", "x=y=z"),
        ("A=it's", "it's"),
        ("A=bar\r\n", "bar"),
    ],
)
def test_plain_values(text: str, expected: str) -> None:
    assert "".join(piece.text for piece in value(text) if isinstance(piece, Text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=$B", (Variable("B"),)),
        ("A=x${B}y", (Text("x"), Variable("B"), Text("y"))),
        ("A=${B:-c d}", (Variable("B", (Text("c d"),)),)),
        ("A=${B-}", (Variable("B", (), unset_only=True),)),
        ("A=${B:-${C}}", (Variable("B", (Variable("C"),)),)),
        ("A=${B:-$(cat k 2>/dev/null)}", (Variable("B", (Command("cat k 2>/dev/null"),)),)),
        ('A=$(op read "op://$V/i")', (Command('op read "op://$V/i"'),)),
        ('A="$(op read "x y")"', (Command('op read "x y"'),)),
        ("A=$(sed 's/)#//' f) # note", (Command("sed 's/)#//' f"),)),
        ("A=$(echo $(echo b))", (Command("echo $(echo b)"),)),
        ("A=$(echo \"$(echo ')')\")", (Command("echo \"$(echo ')')\""),)),
        (
            "A=$(kamal secrets fetch \\\n  --adapter x A)",
            (Command("kamal secrets fetch \\\n  --adapter x A"),),
        ),
        ("A=$B$(c)d", (Variable("B"), Command("c"), Text("d"))),
    ],
)
def test_pieces(text: str, expected: tuple[Piece, ...]) -> None:
    assert value(text) == expected


def test_lines_and_names() -> None:
    parsed = parse("# note\n\nA=1\nB=$(x \\\n y)\nexport A\nC.D=2\n", "f")
    assert [(entry.name, entry.where.line) for entry in parsed.entries] == [("A", 3), ("B", 4), ("C.D", 7)]
    assert parsed.warnings == ()


def test_what_is_passed_over_is_told() -> None:
    parsed = parse("set -a\nA=ab#cd\nif [ x ]; then\nB=1\n", "f")
    assert [entry.name for entry in parsed.entries] == ["A", "B"]
    told = "\n".join(parsed.warnings)
    assert "f:1 is no NAME=value" in told
    assert "f:2 the value of A is cut at '#'" in told
    assert "f:3 is no NAME=value" in told


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("A=1\nB=$(x\n", 2, "$( is never closed"),
        ('A=1\n\nB="x\n', 3, "the double quote is never closed"),
        ("A=${1+x}", 1, "${1 is not closed"),
        ("A=${B:?no}", 1, "${B is not closed"),
        ("A=${}", 1, "${ is not followed by a name"),
        ("A=$( )", 1, "$() holds no command"),
        ("export B\n", 1, "B is exported but never set"),
    ],
)
def test_mistakes(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert message in caught.value.message
    assert caught.value.hint
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("f", line)
