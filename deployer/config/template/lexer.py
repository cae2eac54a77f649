"""Tokens of the small Ruby inside ERB tags, and of the text between the tags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from freehold.errors import ConfigError
from freehold.source import Location


@dataclass(frozen=True)
class Token:
    """`kind` is text (of the template), open/close (of `<%=`), newline, name, const, number, string,
    command, words, symbol, label, op, ivar or end."""

    kind: str
    value: Any
    line: int
    spaced: bool = False
    """Whether blank space stands in front: `a [1]` and `a -1` are read by it."""


@dataclass(frozen=True)
class Interpolated:
    """A string or command: literal text and code `#{…}`."""

    parts: tuple[str | tuple[Token, ...], ...]


_SPACE = re.compile(r"[ \t\r]+|\\\n")
_NUMBER = re.compile(r"\d[\d_]*(?:\.\d[\d_]*)?")
_WORD = re.compile(r"[A-Za-z_]\w*[?!]?(?!=[^=~>])|[A-Za-z_]\w*", re.ASCII)
_OPERATOR = re.compile(
    r"\*\*|<=>|===|==|!=|>=|<=|&&|\|\||\|\|=|<<|=>|=~|!~|&\.|\.\.\.|\.\.|::|\+=|-=|->|[-+*/%<>=!?:.,;()\[\]{}|&]"
)
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_ESCAPES = {**dict(zip("ntsreabfv", "\n\t \r\x1b\a\b\f\v", strict=True)), "\n": ""}
_CODE_POINTS = re.compile(r"\\u(?:([0-9A-Fa-f]{4})|\{\s*([0-9A-Fa-f]{1,6}(?:\s+[0-9A-Fa-f]{1,6})*)\s*\})")
_BYTES = re.compile(r"(?:\\x[0-9A-Fa-f]{1,2}|\\[0-7]{1,3})+")
_TAG = re.compile(r"<%%|<%(?P<kind>[=#-]?)(?P<code>.*?)(?P<trim>-?)%>", re.DOTALL)


def fail(message: str, name: str, line: int, hint: str = "") -> NoReturn:
    """Raise a ConfigError at a line of the template."""
    raise ConfigError(message, where=Location(name, line), hint=hint)


def tokens(template: str, name: str) -> list[Token]:
    """The tokens of a whole template: its text, and the code of its tags."""
    found: list[Token] = []
    at, line = 0, 1
    for tag in _TAG.finditer(template):
        text = template[at : tag.start()]
        if tag["kind"] == "-":
            text = re.sub(r"(^|\n)[ \t]*\Z", r"\1", text)
        if text:
            found.append(Token("text", text.replace("%%>", "%>"), line))
        line += template.count("\n", at, tag.start())
        at = tag.end()
        if tag.group() == "<%%":
            found.append(Token("text", "<%", line))
            continue
        code = tag["code"]
        if tag["kind"] == "=":
            comment = re.search(r"(^|\n)[ \t]*#[^\n]*\Z", template[: tag.start()]) is not None
            found.append(Token("open", comment, line))
            found += _Code(code, name, line).all()
            found.append(Token("close", None, line))
        elif tag["kind"] != "#":
            found += _Code(code, name, line).all()
        found.append(Token("newline", None, line))
        line += tag.group().count("\n")
        if tag["trim"] and template[at : at + 1] == "\n":
            at += 1
            line += 1
    if "<%" in template[at:].replace("<%%", ""):
        offset = template.index("<%", at)
        fail("the ERB tag is never closed", name, line + template.count("\n", at, offset), "close it with %>")
    rest = template[at:]
    if rest:
        found.append(Token("text", rest.replace("%%>", "%>"), line))
    found.append(Token("end", None, line + rest.count("\n")))
    return found


class _Code:
    def __init__(self, code: str, name: str, line: int) -> None:
        self.code = code
        self.name = name
        self.line = line
        self.at = 0
        self.spaced = False
        self.found: list[Token] = []

    def add(self, kind: str, value: Any) -> None:
        self.found.append(Token(kind, value, self.line, self.spaced))
        self.spaced = False

    def all(self) -> list[Token]:
        while self.at < len(self.code):
            self.next()
        return self.found

    def next(self) -> None:
        code, at = self.code, self.at
        char = code[at]
        space = _SPACE.match(code, at)
        if space is not None:
            self.line += space[0].count("\n")
            self.at, self.spaced = space.end(), True
        elif char == "\n":
            self.add("newline", None)
            self.line += 1
            self.at += 1
        elif char == "#":
            end = code.find("\n", at)
            self.at = len(code) if end < 0 else end
        elif char == "'":
            self.at += 1
            self.add("string", Interpolated((self.raw("'", "'"),)))
        elif char in '"`':
            self.at += 1
            kind = "command" if char == "`" else "string"
            self.add(kind, self.interpolated(char, char))
        elif (
            char == "%"
            and (match := re.compile(r"%([xqQwir]?)([(\[{<|!/])").match(code, at))
            and self.prefix()
        ):
            self.percent(match[1], match[2], match.end())
        elif match := _NUMBER.match(code, at):
            digits = match[0].replace("_", "")
            self.at = match.end()
            self.add("number", float(digits) if "." in digits else int(digits))
        elif (
            char == ":"
            and (match := re.compile(r":([A-Za-z_]\w*[?!]?)").match(code, at))
            and code[at - 1 : at] != ":"
        ):
            self.at = match.end()
            self.add("symbol", match[1])
        elif (match := re.compile(r"([A-Za-z_]\w*[?!]?):(?!:)").match(code, at)) and not self.in_ternary():
            self.at = match.end()
            self.add("label", match[1])
        elif _WORD.match(code, at):
            self.word()
        elif char in "@$":
            fail(f"ERB: {char}variables are not supported", self.name, self.line, "use a plain name")
        elif char == "/" and self.prefix():
            self.at += 1
            self.regexp("/", "/")
        elif match := _OPERATOR.match(code, at):
            self.at = match.end()
            operator = match[0]
            if operator == "||" and code[self.at : self.at + 1] == "=":
                self.at += 1
                operator = "||="
            self.add("op", operator)
        else:
            fail(f"ERB: {char!r} is not understood", self.name, self.line)

    def in_ternary(self) -> bool:
        """Whether a colon right after a word belongs to `a ? b: c`."""
        return bool(self.found) and self.found[-1].kind == "op" and self.found[-1].value == "?"

    def word(self) -> None:
        match = _WORD.match(self.code, self.at)
        assert match is not None
        self.at = match.end()
        self.add("const" if match[0][0].isupper() else "name", match[0])

    def prefix(self) -> bool:
        """Whether an operand may stand here, so that `/` and `%` begin one."""
        if not self.found:
            return True
        last = self.found[-1]
        if last.kind in ("newline", "label"):
            return True
        if last.kind == "op":
            return last.value not in (")", "]", "}")
        following = self.code[self.at + 1 : self.at + 2]
        return last.kind == "name" and self.spaced and not following.isspace()

    def percent(self, kind: str, opening: str, at: int) -> None:
        self.at = at
        closing = _PAIRS.get(opening, opening)
        if kind == "r":
            self.regexp(opening, closing)
        elif kind in ("w", "i"):
            self.add("words", self.raw(opening, closing).split())
        elif kind == "q":
            self.add("string", Interpolated((self.raw(opening, closing),)))
        else:
            self.add("command" if kind == "x" else "string", self.interpolated(opening, closing))

    def regexp(self, opening: str, closing: str) -> None:
        pattern = self.interpolated(opening, closing, escapes=False)
        flags = re.compile(r"[a-z]*").match(self.code, self.at)
        assert flags is not None
        if set(flags[0]) - set("imxou"):
            fail(f"ERB: the flags {flags[0]!r} of a pattern are not supported", self.name, self.line)
        self.at = flags.end()
        self.add("regexp", (pattern, flags[0]))

    def escape(self) -> str:
        """What a backslash and the characters behind it stand for."""
        if match := _CODE_POINTS.match(self.code, self.at):
            points = [int(digits, 16) for digits in (match[1] or match[2]).split()]
            if any(point > 0x10FFFF or 0xD800 <= point < 0xE000 for point in points):
                fail(f"ERB: {match[0]} is no character", self.name, self.line)
            self.at = match.end()
            return "".join(map(chr, points))
        if match := _BYTES.match(self.code, self.at):
            self.at = match.end()
            found = re.findall(r"x([0-9A-Fa-f]+)|\\([0-7]+)", match[0])
            try:
                return bytes(
                    int(hexed, 16) if hexed else int(octal, 8) & 255 for hexed, octal in found
                ).decode()
            except UnicodeDecodeError:
                fail(f"ERB: {match[0]} is no UTF-8 text", self.name, self.line)
        following = self.code[self.at + 1 : self.at + 2]
        if following in ("u", "x"):
            fail(f"ERB: \\{following} needs a hexadecimal number", self.name, self.line)
        self.line += following == "\n"
        self.at += 2
        return _ESCAPES.get(following, following)

    def raw(self, opening: str, closing: str) -> str:
        """Text up to the closing delimiter, where only the delimiter and the backslash are escaped."""
        parts: list[str] = []
        depth = 0
        while True:
            char = self.code[self.at : self.at + 1]
            if not char:
                fail("ERB: a quote is never closed", self.name, self.line)
            if char == "\\" and self.code[self.at + 1 : self.at + 2] in (closing, "\\", opening):
                parts.append(self.code[self.at + 1])
                self.at += 2
                continue
            self.at += 1
            if char == closing and depth == 0:
                return "".join(parts)
            if opening != closing:
                depth += (char == opening) - (char == closing)
            self.line += char == "\n"
            parts.append(char)

    def interpolated(self, opening: str, closing: str, *, escapes: bool = True) -> Interpolated:
        """Text and code up to the closing delimiter; without `escapes` backslashes are a pattern's own."""
        parts: list[str | tuple[Token, ...]] = []
        literal: list[str] = []
        depth = 0
        while True:
            char = self.code[self.at : self.at + 1]
            if not char:
                fail("ERB: a quote is never closed", self.name, self.line)
            if char == "\\":
                if escapes:
                    literal.append(self.escape())
                    continue
                following = self.code[self.at + 1 : self.at + 2]
                literal.append(following if following == "/" else f"\\{following}")
                self.at += 2
            elif char == "#" and self.code[self.at + 1 : self.at + 2] == "{":
                parts.append("".join(literal))
                literal.clear()
                parts.append(self.embedded())
            else:
                self.at += 1
                if char == closing and depth == 0:
                    parts.append("".join(literal))
                    return Interpolated(tuple(parts))
                if opening != closing:
                    depth += (char == opening) - (char == closing)
                self.line += char == "\n"
                literal.append(char)

    def embedded(self) -> tuple[Token, ...]:
        inner = _Code(self.code, self.name, self.line)
        inner.at = self.at + 2
        depth = 0
        while True:
            if inner.at >= len(inner.code):
                fail("ERB: #{ is never closed", self.name, self.line)
            char = inner.code[inner.at]
            if char == "}" and depth == 0:
                self.at = inner.at + 1
                return (*inner.found, Token("end", None, inner.line))
            depth += (char == "{") - (char == "}")
            inner.next()
