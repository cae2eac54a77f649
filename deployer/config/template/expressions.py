"""Expressions of the small Ruby inside ERB tags."""

from __future__ import annotations

from abc import abstractmethod

from deployer.config.template import syntax as s
from deployer.config.template.lexer import Interpolated, Token
from deployer.config.template.reader import Reader

_BINARY = (
    ("==", "!=", "=~", "!~", "===", "<=>"),
    ("<", ">", "<=", ">="),
    ("|",),
    ("&",),
    ("<<",),
    ("+", "-"),
    ("*", "/", "%"),
    ("**",),
)
_OPERANDS = ("string", "command", "number", "name", "const", "symbol", "words", "label", "regexp")
RESERVED = frozenset(
    {
        *("end", "else", "elsif", "when", "then", "do", "if", "unless", "and", "or", "not", "rescue"),
        *("ensure", "while", "until", "for", "in", "def", "class", "module", "return"),
    }
)


class Expressions(Reader):
    """Parses expressions; what holds statements is parsed by the class below."""

    @abstractmethod
    def statements(self, tokens: tuple[Token, ...]) -> s.Tree:
        """The statements of a token list of its own: code inside a string."""

    @abstractmethod
    def body(self, ends: tuple[str, ...], closing: str = "") -> s.Sequence:
        """Statements up to a word of `ends` or the operator `closing`, which stays unread."""

    @abstractmethod
    def block(self, closing: str) -> s.Block:
        """A block behind `{` or `do`."""

    @abstractmethod
    def named(self) -> s.Tree:
        """What begins with a name: a variable, a call, `if`, `case`."""

    def expression(self) -> s.Tree:
        self.deeper()
        tree = self.assignment()
        self.depth -= 1
        return tree

    def assignment(self) -> s.Tree:
        left = self.ternary()
        if not self.is_op("=", "||=", "+="):
            return left
        token = self.advance()
        self.newlines()
        operator = token.value.removesuffix("=")
        if isinstance(left, s.Name):
            self.locals.add(left.name)
            return s.Assign(token.line, left.name, self.expression(), operator)
        if (
            not isinstance(left, s.Call)
            or left.method != "[]"
            or not left.receiver
            or len(left.arguments) != 1
        ):
            self.fail("this cannot be assigned to")
        return s.AssignIndex(token.line, left.receiver, left.arguments[0], self.expression(), operator)

    def ternary(self) -> s.Tree:
        test = self.span()
        if not self.is_op("?"):
            return test
        line = self.advance().line
        self.newlines()
        yes = self.ternary()
        self.newlines()
        self.expect(":")
        self.newlines()
        return s.Branch(line, ((test, yes),), self.ternary())

    def span(self) -> s.Tree:
        left = self.logic("||")
        if not self.is_op("..", "..."):
            return left
        token = self.advance()
        ended = self.token.kind in ("newline", "close", "end") or self.is_word("then")
        last = None if ended or self.is_op("]", ")", ",") else self.logic("||")
        return s.Span(token.line, left, last, token.value == "...")

    def logic(self, operator: str) -> s.Tree:
        def below() -> s.Tree:
            return self.logic("&&") if operator == "||" else self.binary(0)

        left = below()
        while self.is_op(operator):
            line = self.advance().line
            self.newlines()
            left = s.Logic(line, operator, left, below())
        return left

    def binary(self, level: int) -> s.Tree:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.is_op(*_BINARY[level]):
            token = self.advance()
            self.newlines()
            right = self.binary(level + 1)
            if token.value in ("!=", "!~"):
                positive = "==" if token.value == "!=" else "=~"
                left = s.Not(token.line, s.Call(token.line, left, positive, (right,)))
            else:
                left = s.Call(token.line, left, token.value, (right,))
        return left

    def unary(self) -> s.Tree:
        if self.is_op("!"):
            line = self.advance().line
            return s.Not(line, self.unary())
        if self.is_op("-"):
            line = self.advance().line
            return s.Call(line, s.Literal(line, 0), "-", (self.unary(),))
        return self.postfix(self.primary())

    def postfix(self, tree: s.Tree) -> s.Tree:
        while True:
            ahead = self.at
            while self.tokens[ahead].kind == "newline":
                ahead += 1
            following = self.tokens[ahead]
            if following.kind == "op" and following.value in (".", "&."):
                self.at = ahead + 1
                if self.token.kind not in ("name", "const", "label"):
                    self.unexpected()
                method = self.advance()
                tree = self.call(tree, method, safe=following.value == "&.")
            elif self.is_op("::") and isinstance(tree, s.Constant):
                self.at += 1
                if self.token.kind not in ("const", "name"):
                    self.unexpected()
                token = self.advance()
                if token.kind == "const":
                    tree = s.Constant(token.line, f"{tree.name}::{token.value}")
                else:
                    tree = self.call(tree, token)
            elif self.is_op("[") and not (
                self.token.spaced and isinstance(tree, s.Name) and tree.name not in self.locals
            ):
                line = self.advance().line
                arguments, _, _ = self.arguments("]")
                tree = s.Call(line, tree, "[]", arguments)
            else:
                return tree

    def call(self, receiver: s.Tree | None, method: Token, safe: bool = False) -> s.Tree:
        """Arguments and a block behind a method's name."""
        arguments: tuple[s.Tree, ...] = ()
        named: tuple[tuple[str, s.Tree], ...] = ()
        block: s.Block | None = None
        if self.is_op("(") and not self.token.spaced:
            self.at += 1
            arguments, named, block = self.arguments(")")
        elif self.starts_argument():
            arguments, named, block = self.arguments("")
        if self.is_op("{"):
            self.at += 1
            block = self.block("}")
        elif self.is_word("do"):
            self.at += 1
            block = self.block("end")
        return s.Call(method.line, receiver, method.value, arguments, named, block, safe)

    def starts_argument(self) -> bool:
        """Whether an argument follows without parentheses: `require "x"`, `join ","`."""
        token = self.token
        if not token.spaced:
            return False
        if token.kind == "name" and token.value in RESERVED:
            return False
        return token.kind in _OPERANDS or (
            token.kind == "op" and token.value in ("->", "&") and not self.tokens[self.at + 1].spaced
        )

    def arguments(
        self, closing: str
    ) -> tuple[tuple[s.Tree, ...], tuple[tuple[str, s.Tree], ...], s.Block | None]:
        """Arguments up to `closing`, or without parentheses to the end of the statement."""
        found: list[s.Tree] = []
        named: list[tuple[str, s.Tree]] = []
        block: s.Block | None = None
        while True:
            if closing:
                self.newlines()
            if closing and self.is_op(closing):
                self.at += 1
                break
            token = self.token
            if token.kind == "label":
                self.at += 1
                self.newlines()
                named.append((token.value, self.expression()))
            elif self.is_op("&") and self.tokens[self.at + 1].kind == "symbol":
                self.at += 1
                symbol = self.advance()
                block = s.Block(symbol.line, (), s.Sequence(symbol.line, ()), symbol.value)
            else:
                value = self.expression()
                if self.is_op("=>"):
                    self.at += 1
                    self.newlines()
                    key = value.value if isinstance(value, s.Literal) else None
                    if isinstance(value, s.Joined) and len(value.parts) == 1:
                        key = value.parts[0]
                    if not isinstance(key, str):
                        self.fail("a named argument needs a plain name")
                    named.append((key, self.expression()))
                else:
                    found.append(value)
            if closing:
                self.newlines()
            if self.is_op(","):
                self.at += 1
                self.newlines()
            elif not closing:
                break
            elif not self.is_op(closing):
                self.unexpected()
        return tuple(found), tuple(named), block

    def primary(self) -> s.Tree:
        token = self.token
        line = token.line
        if token.kind == "string" or token.kind == "command":
            self.at += 1
            parts = self.parts(token.value)
            while token.kind == "string" and self.token.kind == "string":
                parts += self.parts(self.advance().value)
            return s.Joined(line, parts, command=token.kind == "command")
        if token.kind in ("number", "symbol", "words"):
            self.at += 1
            return s.Literal(line, token.value)
        if token.kind == "regexp":
            self.at += 1
            pattern, flags = token.value
            return s.Regexp(line, self.parts(pattern), flags)
        if token.kind == "const":
            self.at += 1
            if self.is_op("(") and not self.token.spaced:
                return self.call(None, token)
            return s.Constant(line, token.value)
        if token.kind == "name":
            return self.named()
        if self.is_op("("):
            self.at += 1
            tree = self.body((), ")")
            self.at += 1
            return tree
        if self.is_op("["):
            self.at += 1
            items, named, _ = self.arguments("]")
            if named:
                self.fail("a list holds no names")
            return s.Listing(line, items)
        if not self.is_op("{"):
            self.unexpected()
        return self.table()

    def parts(self, value: Interpolated) -> tuple[str | s.Tree, ...]:
        found: list[str | s.Tree] = []
        for part in value.parts:
            if isinstance(part, str):
                found.append(part)
                continue
            found.append(self.statements(part))
        return tuple(found)

    def table(self) -> s.Tree:
        line = self.advance().line
        items: list[tuple[s.Tree, s.Tree]] = []
        self.newlines()
        while not self.is_op("}"):
            token = self.token
            if token.kind == "label":
                self.at += 1
                key: s.Tree = s.Literal(token.line, token.value)
            else:
                key = self.expression()
                self.newlines()
                if self.is_op(":"):
                    self.at += 1
                else:
                    self.expect("=>")
            self.newlines()
            items.append((key, self.expression()))
            self.newlines()
            if self.is_op(","):
                self.at += 1
                self.newlines()
            elif not self.is_op("}"):
                self.unexpected()
        self.at += 1
        return s.Table(line, tuple(items))
