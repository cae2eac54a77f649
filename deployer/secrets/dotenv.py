"""The secrets file as people write it: dotenv lines whose values may hold variables and commands.

The grammar is that of Ruby's dotenv, which Kamal uses, with what its users expect besides: a
`$(command)` may run over several lines, hold `#` and stand inside double quotes, and `${X:-default}`
works. Nothing is evaluated here: a value is parsed to pieces.

    NAME=value              # comment      text up to ` #`; `\\$` is a dollar sign
    NAME='value'                           nothing is replaced
    NAME="a $B ${C:-d}"                    variables are replaced
    NAME=$(op read op://vault/item)        the output of a command
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from freehold.errors import ConfigError
from freehold.source import Location

_KEY = re.compile(r"[ \t]*(?P<export>export[ \t]+)?(?P<key>[\w.]+)(?P<separator>[ \t]*=[ \t]*|:[ \t]+)?")
_NAME = re.compile(r"\w+", re.ASCII)
_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")


@dataclass(frozen=True)
class Text:
    """Characters that stand for themselves."""

    text: str


@dataclass(frozen=True)
class Variable:
    """`$NAME`, `${NAME}`; with `default` `${NAME:-default}`, which with `unset_only` is `${NAME-default}`."""

    name: str
    default: tuple[Piece, ...] | None = None
    unset_only: bool = False


@dataclass(frozen=True)
class Command:
    """`$(script)`: the shell text between the parentheses."""

    script: str


Piece = Text | Variable | Command


@dataclass(frozen=True)
class Entry:
    """One assignment: the name, the pieces of its value, where it stands."""

    name: str
    value: tuple[Piece, ...]
    where: Location


@dataclass(frozen=True)
class SecretsFile:
    """A parsed file: its assignments in order, and what looked wrong but was passed over."""

    name: str
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()


def parse(text: str, name: str) -> SecretsFile:
    """Parse the text of a secrets file; `name` is how errors call it. Raises ConfigError with the line."""
    return _Parser(re.sub(r"\r\n?", "\n", text), name).file()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0
        self.warnings: list[str] = []

    def place(self, key: str = "") -> Location:
        before = self.text[: self.at]
        return Location(self.name, before.count("\n") + 1, self.at - before.rfind("\n"), key)

    def fail(self, message: str, hint: str, key: str = "") -> NoReturn:
        raise ConfigError(message, where=self.place(key), hint=hint)

    def file(self) -> SecretsFile:
        entries: dict[int, Entry] = {}
        while self.at < len(self.text):
            blank = _BLANK.match(self.text, self.at)
            if blank is not None and blank.end() > self.at:
                self.at = blank.end()
                continue
            entry = self.line({entry.name for entry in entries.values()})
            if entry is not None:
                entries[len(entries)] = entry
        return SecretsFile(self.name, tuple(entries.values()), tuple(self.warnings))

    def line(self, known: Iterable[str]) -> Entry | None:
        match = _KEY.match(self.text, self.at)
        if match is None or (match["separator"] is None and not self.ends(match.end())):
            self.skip("is no NAME=value")
            return None
        key = match["key"]
        self.at = match.start("key")
        where = self.place(key)
        if match["separator"] is None:
            if match["export"] and key not in known:
                self.fail(f"{key} is exported but never set", f"write {key}=value, or take the line out", key)
            if not match["export"]:
                self.skip("is no NAME=value")
                return None
            self.skip("")
            return None
        self.at = match.end()
        return Entry(key, self.value(key), where)

    def ends(self, at: int) -> bool:
        return _END.match(self.text, at) is not None

    def skip(self, why: str) -> None:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        if why:
            self.warnings.append(f"{self.name}:{self.place().line} {why}; the line has no effect")
        self.at = end + 1

    def value(self, key: str) -> tuple[Piece, ...]:
        start = self.at
        quote = self.text[start : start + 1]
        if quote == "'":
            match = re.compile(r"'((?:\\'|[^'])*)'").match(self.text, start)
            if match is not None and self.ends(match.end()):
                self.finish(match.end())
                return (Text(match[1]),)
        elif quote == '"':
            self.at = start + 1
            pieces = self.pieces(key, '"')
            if self.text[self.at : self.at + 1] == '"' and self.ends(self.at + 1):
                self.finish(self.at + 1)
                return pieces
            if self.at >= len(self.text):
                self.at = start
                self.fail("the double quote is never closed", 'close it with another "', key)
        self.at = start
        pieces = self.pieces(key, "\n#")
        if self.text[self.at : self.at + 1] == "#":
            if self.text[self.at - 1 : self.at] not in (" ", "\t", "="):
                self.warnings.append(
                    f"{self.name}:{self.place().line} the value of {key} is cut at '#', "
                    "which begins a comment; quote the value to keep it whole"
                )
            self.skip("")
        else:
            self.at += 1
        return _stripped(pieces)

    def finish(self, at: int) -> None:
        match = _END.match(self.text, at)
        self.at = match.end() if match else at

    def pieces(self, key: str, stops: str) -> tuple[Piece, ...]:
        """Pieces up to one of `stops`, which is left unread."""
        found: list[Piece] = []
        literal: list[str] = []

        def flush() -> None:
            if literal:
                found.append(Text("".join(literal)))
                literal.clear()

        while self.at < len(self.text) and self.text[self.at] not in stops:
            char = self.text[self.at]
            following = self.text[self.at + 1 : self.at + 2]
            if char == "\\" and following:
                # dotenv keeps \n and \r inside double quotes as they are; other escapes lose the backslash.
                keep = '"' in stops and following in "nr"
                literal.append(f"\\{following}" if keep else following)
                self.at += 2
            elif char == "$" and following == "(":
                flush()
                found.append(self.command(key))
            elif char == "$" and following == "{":
                flush()
                found.append(self.braced(key))
            elif char == "$" and (match := _NAME.match(self.text, self.at + 1)):
                flush()
                found.append(Variable(match[0]))
                self.at = match.end()
            else:
                literal.append(char)
                self.at += 1
        flush()
        return tuple(found)

    def command(self, key: str) -> Command:
        end = _closing(self.text, self.at + 1)
        if end is None:
            self.fail("$( is never closed", "close the command with ')'", key)
        script = self.text[self.at + 2 : end]
        if not script.strip():
            self.fail("$() holds no command", "write the command between the parentheses", key)
        self.at = end + 1
        return Command(script.strip())

    def braced(self, key: str) -> Variable:
        start = self.at
        match = re.compile(r"\$\{(\w+)(:?-)?", re.ASCII).match(self.text, start)
        if match is None:
            self.fail(
                "${ is not followed by a name", "write ${NAME} or ${NAME:-default}; \\$ is a plain $", key
            )
        self.at = match.end()
        default = None
        if match[2]:
            default = self.pieces(key, "}\n")
        if self.text[self.at : self.at + 1] != "}":
            self.at = start
            self.fail(
                f"${{{match[1]} is not closed",
                "of the shell's forms ${NAME}, ${NAME:-default} and ${NAME-default} are read",
                key,
            )
        self.at += 1
        return Variable(match[1], default, unset_only=match[2] == "-")


def _closing(text: str, opening: int) -> int | None:
    """Where the parenthesis at `opening` is closed, as a shell reads it: quotes hide parentheses."""
    depth = 0
    quote = ""
    at = opening
    while at < len(text):
        char = text[at]
        if quote == "'":
            quote = "" if char == "'" else quote
        elif char == "\\":
            at += 1
        elif char == '"':
            quote = "" if quote else '"'
        elif char == "'" and not quote:
            quote = "'"
        elif char == "$" and quote == '"' and text[at + 1 : at + 2] == "(":
            inner = _closing(text, at + 1)
            if inner is None:
                return None
            at = inner
        elif not quote and char == "(":
            depth += 1
        elif not quote and char == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None


def _stripped(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Pieces of an unquoted value without the blanks around it."""
    parts = list(pieces)
    if parts and isinstance(parts[0], Text):
        parts[0] = Text(parts[0].text.lstrip())
    if parts and isinstance(parts[-1], Text):
        parts[-1] = Text(parts[-1].text.rstrip())
    return tuple(part for part in parts if not isinstance(part, Text) or part.text)
