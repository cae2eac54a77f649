"""The tree of a template: text, output, and the small Ruby around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tree:
    """Any node; `line` is the template's."""

    line: int


@dataclass(frozen=True)
class Sequence(Tree):
    """Statements one after the other; the value is the last one's."""

    body: tuple[Tree, ...]


@dataclass(frozen=True)
class Text(Tree):
    """Text of the template."""

    text: str


@dataclass(frozen=True)
class Emit(Tree):
    """`<%= value %>`; in a YAML comment its failure does not matter."""

    value: Tree
    comment: bool


@dataclass(frozen=True)
class Literal(Tree):
    """A number, symbol, nil, true, false or words."""

    value: Any


@dataclass(frozen=True)
class Joined(Tree):
    """A string with code in it; `command` runs it in a shell instead."""

    parts: tuple[str | Tree, ...]
    command: bool = False


@dataclass(frozen=True)
class Regexp(Tree):
    """`/pattern/flags` or `%r{pattern}flags`, which may hold code as a string does."""

    parts: tuple[str | Tree, ...]
    flags: str


@dataclass(frozen=True)
class Listing(Tree):
    """`[a, b]`."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Table(Tree):
    """`{a: 1, "b" => 2}`."""

    items: tuple[tuple[Tree, Tree], ...]


@dataclass(frozen=True)
class Span(Tree):
    """`first..last`; `first..` where there is no last."""

    first: Tree
    last: Tree | None
    exclusive: bool


@dataclass(frozen=True)
class Name(Tree):
    """A local variable, or a method without arguments."""

    name: str


@dataclass(frozen=True)
class Constant(Tree):
    """`ENV`, `File`, `Rails::Thing`."""

    name: str


@dataclass(frozen=True)
class Assign(Tree):
    """`name = value`; `operator` for `||=` and `+=`."""

    name: str
    value: Tree
    operator: str = ""


@dataclass(frozen=True)
class AssignIndex(Tree):
    """`target[index] = value`."""

    target: Tree
    index: Tree
    value: Tree
    operator: str = ""


@dataclass(frozen=True)
class Block(Tree):
    """`{ |a, (b, c)| … }` or `&:name`."""

    parameters: tuple[Any, ...]
    body: Tree
    symbol: str = ""


@dataclass(frozen=True)
class Call(Tree):
    """`receiver.method(arguments) { block }`; operators are calls too."""

    receiver: Tree | None
    method: str
    arguments: tuple[Tree, ...] = ()
    named: tuple[tuple[str, Tree], ...] = ()
    block: Block | None = None
    safe: bool = False


@dataclass(frozen=True)
class Logic(Tree):
    """`&&` or `||`."""

    operator: str
    left: Tree
    right: Tree


@dataclass(frozen=True)
class Not(Tree):
    """`!value`."""

    value: Tree


@dataclass(frozen=True)
class Branch(Tree):
    """`if … elsif … else … end`, `unless`, `a ? b : c` and `case`."""

    choices: tuple[tuple[Tree, Tree], ...]
    otherwise: Tree | None = field(default=None)


@dataclass(frozen=True)
class Leave(Tree):
    """`next` or `break` in a block."""

    kind: str
    value: Tree | None = None


@dataclass(frozen=True)
class Rescue(Tree):
    """`value rescue otherwise`."""

    value: Tree
    otherwise: Tree
