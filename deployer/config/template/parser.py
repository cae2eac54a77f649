"""Tokens to a tree. What is not understood is refused with its line."""

from __future__ import annotations

from typing import Any

from deployer.config.template import syntax as s
from deployer.config.template.expressions import RESERVED, Expressions
from deployer.config.template.lexer import Token

_WORDS = {"nil": None, "true": True, "false": False}


class Parser(Expressions):
    """Parses one token list."""

    def template(self) -> s.Tree:
        tree = self.body(())
        if self.token.kind != "end":
            self.fail(f"there is no block for this {self.token.value!r} to close", "take it out")
        return tree

    def statements(self, tokens: tuple[Token, ...]) -> s.Tree:
        inner = Parser(tokens, self.name)
        inner.locals = self.locals
        inner.depth = self.depth + 1
        return inner.template()

    def body(self, ends: tuple[str, ...], closing: str = "") -> s.Sequence:
        """Statements up to a word of `ends` or the operator `closing`, which stays unread."""
        line = self.token.line
        found: list[s.Tree] = []
        self.deeper()
        while True:
            self.newlines()
            if (self.token.kind == "end" and not ends and not closing) or self.is_word(*ends):
                break
            if closing and self.is_op(closing):
                break
            if self.token.kind == "end":
                self.unexpected()
            if not ends and not closing and self.is_word("end", "else", "elsif"):
                break
            found.append(self.statement())
        self.depth -= 1
        return s.Sequence(line, tuple(found))

    def statement(self) -> s.Tree:
        token = self.token
        if token.kind == "text":
            self.at += 1
            return s.Text(token.line, token.value)
        if token.kind == "open":
            self.at += 1
            self.newlines()
            if self.token.kind == "close":
                self.at += 1
                return s.Text(token.line, "")
            value = self.modified()
            self.newlines()
            if self.token.kind != "close":
                self.unexpected()
            self.at += 1
            return s.Emit(token.line, value, bool(token.value))
        return self.modified()

    def modified(self) -> s.Tree:
        """A statement with `if`, `unless` or `rescue` behind it."""
        tree = self.words()
        while self.is_word("if", "unless", "rescue"):
            token = self.advance()
            other = self.words()
            if token.value == "rescue":
                tree = s.Rescue(token.line, tree, other)
            else:
                test = s.Not(token.line, other) if token.value == "unless" else other
                tree = s.Branch(token.line, ((test, tree),))
        return tree

    def words(self) -> s.Tree:
        """`not`, `and`, `or`."""
        left = self.negated()
        while self.is_word("and", "or"):
            token = self.advance()
            self.newlines()
            left = s.Logic(token.line, "&&" if token.value == "and" else "||", left, self.negated())
        return left

    def negated(self) -> s.Tree:
        """An expression, or `not` and an expression."""
        if not self.is_word("not"):
            return self.expression()
        line = self.advance().line
        return s.Not(line, self.expression())

    def block(self, closing: str) -> s.Block:
        line = self.token.line
        parameters: tuple[Any, ...] = ()
        self.newlines()
        if self.is_op("||"):
            self.at += 1
        elif self.is_op("|"):
            self.at += 1
            parameters = self.parameters("|")
        body = self.body(("end",)) if closing == "end" else self.body((), closing)
        self.at += 1
        return s.Block(line, parameters, body)

    def parameters(self, closing: str) -> tuple[Any, ...]:
        found: list[Any] = []
        while not self.is_op(closing):
            if self.is_op("("):
                self.at += 1
                found.append(self.parameters(")"))
            elif self.token.kind == "name":
                found.append(self.advance().value)
                self.locals.add(found[-1])
            else:
                self.unexpected()
            if self.is_op(","):
                self.at += 1
        self.at += 1
        return tuple(found)

    def named(self) -> s.Tree:
        token = self.advance()
        word, line = token.value, token.line
        if word in _WORDS:
            return s.Literal(line, _WORDS[word])
        if word in ("if", "unless"):
            return self.conditional(word, line)
        if word == "case":
            return self.case(line)
        if word in ("next", "break"):
            value = None
            if self.token.kind not in ("newline", "end", "close") and not self.is_word("if", "unless"):
                value = self.expression()
            return s.Leave(line, word, value)
        if word == "begin":
            return self.begin(line)
        if word in RESERVED:
            self.at -= 1
            if word in ("end", "else", "elsif"):
                self.fail(f"there is no block for this {word!r} to close", "take it out")
            self.fail(f"{word!r} is not supported")
        if word in self.locals:
            return s.Name(line, word)
        if (self.is_op("=", "||=", "+=") and word.isidentifier()) or self.is_op("::"):
            return s.Name(line, word)
        call = self.call(None, token)
        assert isinstance(call, s.Call)
        plain = not (call.arguments or call.named or call.block)
        return s.Name(line, word) if plain and self.tokens[self.at - 1] is token else call

    def conditional(self, word: str, line: int) -> s.Tree:
        choices: list[tuple[s.Tree, s.Tree]] = []
        test = self.words()
        if word == "unless":
            test = s.Not(line, test)
        otherwise: s.Tree | None = None
        while True:
            if self.is_word("then"):
                self.at += 1
            choices.append((test, self.body(("end", "else", "elsif"))))
            ending = self.advance()
            if ending.value == "elsif":
                test = self.words()
                continue
            if ending.value == "else":
                otherwise = self.body(("end",))
                self.at += 1
            return s.Branch(line, tuple(choices), otherwise)

    def case(self, line: int) -> s.Tree:
        subject = self.expression()
        self.newlines()
        while self.token.kind == "text" and not self.token.value.strip():
            self.at += 1
            self.newlines()
        choices: list[tuple[s.Tree, s.Tree]] = []
        otherwise: s.Tree | None = None
        while self.is_word("when"):
            self.at += 1
            tests, _, _ = self.arguments("")
            if self.is_word("then"):
                self.at += 1
            body = self.body(("when", "else", "end"))
            choices += [(s.Call(line, test, "===", (subject,)), body) for test in tests]
        if self.is_word("else"):
            self.at += 1
            otherwise = self.body(("end",))
        if not self.is_word("end"):
            self.unexpected()
        self.at += 1
        return s.Branch(line, tuple(choices), otherwise)

    def begin(self, line: int) -> s.Tree:
        body: s.Tree = self.body(("rescue", "end"))
        if self.is_word("rescue"):
            self.at += 1
            while self.token.kind not in ("newline", "end"):
                self.at += 1
            body = s.Rescue(line, body, self.body(("end",)))
        self.at += 1
        return body
