"""Reading a token list: what stands next, and errors at its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from deployer.config.template.lexer import Token, fail

SUPPORTED = (
    "supported are ENV, File.read, YAML.load_file, `commands`, local variables, "
    "if/unless/else/end and loops such as each; a value can also come from a command: <%= `script` %>"
)
MAX_DEPTH = 60


class Reader:
    """A position in a token list, and the local variables that are known there."""

    def __init__(self, tokens: Sequence[Token], name: str) -> None:
        self.tokens = tokens
        self.name = name
        self.at = 0
        self.locals: set[str] = set()
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def is_op(self, *values: str) -> bool:
        return self.token.kind == "op" and self.token.value in values

    def is_word(self, *values: str) -> bool:
        return self.token.kind == "name" and self.token.value in values

    def advance(self) -> Token:
        token = self.token
        self.at += 1
        return token

    def fail(self, message: str, hint: str = SUPPORTED) -> NoReturn:
        fail(f"ERB: {message}", self.name, self.token.line, hint)

    def unexpected(self) -> NoReturn:
        if self.token.kind == "end":
            self.fail("the template ends too early", "an `end` or a closing bracket is missing")
        shown = {"newline": "the end of the line", "text": "text", "close": "%>"}.get(
            self.token.kind, f"{self.token.value!r}"
        )
        self.fail(f"{shown} is not understood here")

    def expect(self, value: str) -> None:
        if not self.is_op(value):
            self.unexpected()
        self.at += 1

    def newlines(self) -> None:
        while self.token.kind == "newline" or self.is_op(";"):
            self.at += 1

    def deeper(self) -> None:
        """Count a level of nesting; templates of people have few."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("nested too deeply", "")
