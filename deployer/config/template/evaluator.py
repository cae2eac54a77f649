"""Evaluates the tree of an ERB template: the small Ruby that configuration files use, and no more."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NoReturn

from deployer.config.template import library, methods
from deployer.config.template import syntax as s
from deployer.config.template.lexer import fail
from deployer.config.template.output import Output
from deployer.config.template.reader import SUPPORTED
from deployer.config.template.values import Span, Value, inspect, regexp, text, truthy
from deployer.config.template.world import World
from freehold.errors import FreeholdError

MAX_STEPS = 200_000


class Leaving(Exception):
    """`next` or `break` on its way out of a block."""

    def __init__(self, kind: str, value: Value) -> None:
        super().__init__(kind)
        self.kind = kind
        self.value = value


class Evaluator:
    """One run over one template. What it sets in the environment stays in its world."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.environ = world.environ
        self.output = Output()
        self.scope: dict[str, Value] = {}
        self.unset: list[tuple[int, str]] = []
        self.warnings: list[str] = []
        self.steps = 0
        self.line = 1

    def fail(self, message: str, hint: str = "") -> NoReturn:
        fail(f"ERB: {message}", self.name, self.line, hint)

    def run(self, tree: s.Tree) -> Value:
        self.steps += 1
        if self.steps > MAX_STEPS:
            self.fail("the template does not end", "it takes too many steps")
        self.line = tree.line
        return _VISIT[type(tree)](self, tree)

    def sequence(self, tree: s.Sequence) -> Value:
        value = None
        for part in tree.body:
            value = self.run(part)
        return value

    def text(self, tree: s.Text) -> Value:
        self.output.literal(tree.text, tree.line)

    def emit(self, tree: s.Emit) -> Value:
        if not tree.comment:
            self.output.computed(text(self.run(tree.value)), tree.line)
            return
        mark = len(self.unset)
        try:
            value = text(self.run(tree.value))
        except FreeholdError:
            # What stands in a YAML comment cannot matter, whatever it is.
            value = ""
        del self.unset[mark:]
        self.output.computed(value, tree.line)

    def joined(self, tree: s.Joined) -> Value:
        joined = "".join(part if isinstance(part, str) else text(self.run(part)) for part in tree.parts)
        return self.command(joined) if tree.command else joined

    def command(self, script: str) -> str:
        ran = self.world.run(script, self.environ)
        if ran.returncode != 0:
            tail = ran.stderr.strip().splitlines()[-1:]
            self.warnings.append(
                f"{self.name}:{self.line} `{script}` exited with {ran.returncode}"
                + (f": {tail[0]}" if tail else "")
            )
        return ran.stdout

    def regexp(self, tree: s.Regexp) -> Value:
        values = [part if isinstance(part, str) else self.run(part) for part in tree.parts]
        source = "".join(value.pattern if isinstance(value, re.Pattern) else text(value) for value in values)
        try:
            return regexp(source, tree.flags)
        except re.error as exc:
            self.fail(f"/{source}/ is not understood: {exc}")

    def span(self, tree: s.Span) -> Value:
        first, last = self.run(tree.first), self.run(tree.last) if tree.last is not None else None
        if not isinstance(first, int) or not isinstance(last, int | None):
            self.fail("a range needs whole numbers")
        return Span(first, last, tree.exclusive)

    def local(self, tree: s.Name) -> Value:
        if tree.name in self.scope:
            return self.scope[tree.name]
        return self.call(s.Call(tree.line, None, tree.name))

    def constant(self, tree: s.Constant) -> Value:
        if tree.name not in library.CONSTANTS:
            hint = SUPPORTED
            if tree.name.startswith("Rails"):
                hint = "Rails is not loaded here; take the value from the environment or a secret"
            self.fail(f"{tree.name} is not supported", hint)
        return library.Module(tree.name)

    def assign(self, tree: s.Assign) -> Value:
        old = self.scope.get(tree.name)
        if tree.operator == "||" and truthy(old):
            return old
        value = self.run(tree.value)
        self.scope[tree.name] = self.send(old, "+", [value]) if tree.operator == "+" else value
        return self.scope[tree.name]

    def assign_index(self, tree: s.AssignIndex) -> Value:
        target, index = self.run(tree.target), self.run(tree.index)
        container = self.environ if isinstance(target, library.Module) and target.name == "ENV" else target
        if not isinstance(container, dict | list):
            self.fail("only ENV, maps and lists are assigned to by index")
        old = container.get(index) if isinstance(container, dict) else None
        if tree.operator == "||" and truthy(old):
            return old
        value = self.run(tree.value)
        if container is self.environ:
            if value is None:
                self.environ.pop(text(index), None)
                return None
            self.environ[text(index)] = text(value)
        else:
            container[index] = value
        return value

    def logic(self, tree: s.Logic) -> Value:
        # `ENV["A"] || "x"` asks for A but does not miss it.
        mark = len(self.unset)
        left = self.run(tree.left)
        if tree.operator == "||":
            if truthy(left):
                return left
            right = self.run(tree.right)
            if truthy(right):
                del self.unset[mark:]
            return right
        return self.run(tree.right) if truthy(left) else left

    def branch(self, tree: s.Branch) -> Value:
        for test, body in tree.choices:
            mark = len(self.unset)
            found = self.run(test)
            del self.unset[mark:]
            if truthy(found):
                return self.run(body)
        return self.run(tree.otherwise) if tree.otherwise is not None else None

    def rescue(self, tree: s.Rescue) -> Value:
        try:
            return self.run(tree.value)
        except FreeholdError:
            return self.run(tree.otherwise)

    def leave(self, tree: s.Leave) -> Value:
        raise Leaving(tree.kind, self.run(tree.value) if tree.value is not None else None)

    def call(self, tree: s.Call) -> Value:
        receiver = self.run(tree.receiver) if tree.receiver is not None else None
        if tree.safe and receiver is None:
            return None
        arguments = [self.run(argument) for argument in tree.arguments]
        named = {name: self.run(value) for name, value in tree.named}
        block = self.applier(tree.block) if tree.block is not None else None
        self.line = tree.line
        if tree.receiver is None or isinstance(receiver, library.Module):
            return library.call(self, receiver, tree.method, arguments, named, block)
        return self.send(receiver, tree.method, [*arguments, *([named] if named else [])], block)

    def send(
        self, receiver: Value, method: str, arguments: list[Value], block: Callable[..., Value] | None = None
    ) -> Value:
        if method == "===":
            return self.matches(receiver, arguments[0])
        if isinstance(receiver, Span):
            numbers = receiver.numbers()
            receiver = list(numbers) if len(numbers) <= MAX_STEPS else self.fail("the range is too long")
        if method == "fetch":
            return self.fetch(receiver, arguments, block)
        if method in ("is_a?", "kind_of?"):
            return library.is_a(receiver, arguments[0] if arguments else None)
        if method == "=~" and isinstance(receiver, re.Pattern):
            return methods.STRING["=~"](text(arguments[0]), receiver)
        found = methods.table(receiver).get(method) or methods.ANY.get(method)
        if found is None:
            kind = "nil" if receiver is None else library.class_name(receiver)
            hint = "a variable that is not set is nil; give it a default" if receiver is None else SUPPORTED
            self.fail(f"{kind} has no method {method!r} here", hint)
        extra = [block] if block is not None else []
        try:
            return found(receiver, *arguments, *extra)
        except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, OverflowError) as exc:
            self.fail(f"{method!r} failed: {exc}")

    def fetch(self, receiver: Value, arguments: list[Value], block: Callable[..., Value] | None) -> Value:
        if not arguments:
            self.fail("fetch needs a key")
        key = arguments[0]
        if isinstance(receiver, dict) and key in receiver:
            return receiver[key]
        if isinstance(receiver, list) and isinstance(key, int) and -len(receiver) <= key < len(receiver):
            return receiver[key]
        if block is None and len(arguments) < 2:
            self.fail(f"there is no {inspect(key)} to fetch", "give a default: fetch(key, default)")
        return block(key) if block is not None else arguments[1]

    def matches(self, pattern: Value, subject: Value) -> bool:
        if isinstance(pattern, re.Pattern):
            return isinstance(subject, str) and pattern.search(subject) is not None
        if isinstance(pattern, library.Module):
            return library.is_a(subject, pattern)
        if isinstance(pattern, Span):
            return isinstance(subject, int) and subject in pattern.numbers()
        return bool(pattern == subject)

    def applier(self, block: s.Block) -> Callable[..., Value]:
        """The block as a function of the values that a method gives it."""
        if block.symbol:
            return lambda value, *_: self.send(value, block.symbol, [])

        def apply(*values: Value) -> Value:
            self.bind(block.parameters, list(values))
            try:
                return self.run(block.body)
            except Leaving as leaving:
                if leaving.kind == "break":
                    self.fail("break is not supported", "use find, first or select")
                return leaving.value

        return apply

    def bind(self, parameters: tuple[Any, ...], values: list[Value]) -> None:
        """Give a block's parameters their values, a list being spread over several as Ruby does."""
        if len(parameters) > 1 and len(values) == 1 and isinstance(values[0], list):
            values = values[0]
        if len(parameters) == 1 and len(values) > 1:
            values = [list(values)]
        for at, parameter in enumerate(parameters):
            value = values[at] if at < len(values) else None
            if isinstance(parameter, tuple):
                self.bind(parameter, value if isinstance(value, list) else [value])
            else:
                self.scope[parameter] = value


def _visit(method: Callable[[Evaluator, Any], Value]) -> Callable[[Evaluator, s.Tree], Value]:
    @functools.wraps(method)
    def visit(evaluator: Evaluator, tree: s.Tree) -> Value:
        return method(evaluator, tree)

    return visit


_VISIT: dict[type[s.Tree], Callable[[Evaluator, s.Tree], Value]] = {
    s.Sequence: _visit(Evaluator.sequence),
    s.Text: _visit(Evaluator.text),
    s.Emit: _visit(Evaluator.emit),
    s.Literal: _visit(lambda _, tree: list(tree.value) if isinstance(tree.value, list) else tree.value),
    s.Joined: _visit(Evaluator.joined),
    s.Regexp: _visit(Evaluator.regexp),
    s.Listing: _visit(lambda run, tree: [run.run(item) for item in tree.items]),
    s.Table: _visit(lambda run, tree: {run.run(key): run.run(value) for key, value in tree.items}),
    s.Span: _visit(Evaluator.span),
    s.Name: _visit(Evaluator.local),
    s.Constant: _visit(Evaluator.constant),
    s.Assign: _visit(Evaluator.assign),
    s.AssignIndex: _visit(Evaluator.assign_index),
    s.Call: _visit(Evaluator.call),
    s.Logic: _visit(Evaluator.logic),
    s.Not: _visit(lambda run, tree: not truthy(run.run(tree.value))),
    s.Branch: _visit(Evaluator.branch),
    s.Rescue: _visit(Evaluator.rescue),
    s.Leave: _visit(Evaluator.leave),
}


def evaluate(tree: s.Tree, name: str, world: World) -> Evaluator:
    """Run a template; the evaluator that is returned holds the output."""
    evaluator = Evaluator(name, world)
    try:
        evaluator.run(tree)
    except Leaving as leaving:
        evaluator.fail(f"{leaving.kind!r} stands outside a block")
    except RecursionError:
        evaluator.fail("nested too deeply")
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError) as exc:
        # A value of another kind than its use needs: what Ruby would raise, too.
        evaluator.fail(f"the values do not fit here: {exc}")
    return evaluator
