"""A command of ours inside `$(...)` of a secrets file, split to words as a shell would.

`kamal secrets fetch …` and `kamal secrets extract …` (also as `freehold secrets …`) are not run as
programs: Freehold does them itself, so neither Kamal nor a path to Freehold is needed. Variables
are replaced one to one, whatever their value holds: a JSON text stays one word. What stands behind
a `|` is left to the shell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from freehold.errors import ConfigError
from freehold.source import Location

_OURS = re.compile(r"\s*(?:bundle\s+exec\s+)?(?:\./)?(?:bin/)?(?:kamal|freehold)\s+secrets\s+")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
_OPERATORS = "|&;<>()`"


@dataclass(frozen=True)
class SecretsCommand:
    """`secrets fetch …` or `secrets extract …`: the words after `secrets`, and the shell text behind `|`."""

    words: tuple[str, ...]
    piped_to: str = ""


def is_ours(script: str) -> bool:
    """Whether the shell text is a `kamal secrets` command, which is done without a shell."""
    return _OURS.match(script) is not None


def split(script: str, variable: Callable[[str], str], where: Location) -> SecretsCommand:
    """The words of such a command; `variable` looks up the value of a variable by name."""
    match = _OURS.match(script)
    assert match is not None
    words: list[str] = []
    current: list[str] | None = None
    quote = ""
    piped_to = ""
    at = match.end()
    while at < len(script):
        char = script[at]
        name = _VARIABLE.match(script, at) if char == "$" and quote != "'" else None
        if name is not None:
            current = [*(current or []), variable(name[1] or name[2])]
            at = name.end()
            continue
        if char == "\\" and quote != "'":
            following = script[at + 1 : at + 2]
            if following != "\n":
                current = [*(current or []), following]
            at += 2
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                current = [*(current or []), char]
        elif char in "'\"":
            quote = char
            current = current or []
        elif char.isspace():
            if current is not None:
                words.append("".join(current))
            current = None
        elif char == "|" and script[at + 1 : at + 2] not in ("|", "&") and script[at + 1 :].strip():
            piped_to = script[at + 1 :]
            break
        elif char in _OPERATORS or char == "$":
            raise ConfigError(
                f"{char!r} cannot follow a `secrets` command",
                where=where,
                hint="keep the fetched value in a name of its own and use that name in a second $(...)",
            )
        else:
            current = [*(current or []), char]
        at += 1
    if quote:
        raise ConfigError("a quote in the command is never closed", where=where)
    if current is not None:
        words.append("".join(current))
    return SecretsCommand(tuple(words), piped_to)


def names_in(script: str) -> frozenset[str]:
    """The names of variables that a shell text mentions."""
    return frozenset(
        match[0] or match[1] for match in re.findall(r"\$(?:(\w+)|\{[#!]?(\w+))", script, re.ASCII)
    )


def fill_single_quoted(script: str, values: dict[str, str]) -> str:
    """Replace variables of the file inside single quotes, where a shell would not.

    Kamal replaces them as text before the shell sees them, and files rely on it
    (`$(echo '$JSON' | jq -r .token)`); `$1` of an awk script is no name of the file and stays.
    """
    parts: list[str] = []
    quote = ""
    at = 0
    while at < len(script):
        char = script[at]
        name = _VARIABLE.match(script, at) if char == "$" and quote == "'" else None
        if name is not None and (name[1] or name[2]) in values:
            parts.append(values[name[1] or name[2]].replace("'", "'\\''"))
            at = name.end()
            continue
        if char == "\\" and quote != "'":
            parts.append(script[at : at + 2])
            at += 2
            continue
        if char in "'\"":
            quote = "" if quote == char else quote or char
        parts.append(char)
        at += 1
    return "".join(parts)
