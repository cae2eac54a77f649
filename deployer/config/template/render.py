"""Rendering a configuration file: ERB where `<%` stands in it, Jinja2 where `{{ env… }}` or `{%` does."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.config.template.jinja import is_jinja, render_jinja
from deployer.config.template.output import Rendered
from deployer.config.template.world import World


@dataclass(frozen=True)
class Source:
    """A file's text and its name as errors call it."""

    text: str
    name: str


def render(source: Source, world: World, destination: str | None) -> Rendered:
    """The text of a file with its template filled in. Raises ConfigError at the template's line.

    `KAMAL_DESTINATION` stands in the environment of templates where there is a destination.
    """
    if destination:
        world.environ["KAMAL_DESTINATION"] = destination
    if "<%" in source.text:
        return _erb(source, world)
    if is_jinja(source.text):
        return render_jinja(source.text, source.name, world, destination)
    count = source.text.count("\n") + 1
    return Rendered(source.text, tuple(range(1, count + 1)), frozenset(range(1, count + 1)))


def _erb(source: Source, world: World) -> Rendered:
    # Most files hold no ERB, so its machinery is loaded only for those that do.
    from deployer.config.template.evaluator import evaluate
    from deployer.config.template.lexer import tokens
    from deployer.config.template.parser import Parser

    tree = Parser(tokens(source.text, source.name), source.name).template()
    run = evaluate(tree, source.name, world)
    text, lines, verbatim = run.output.done()
    return Rendered(text, lines, verbatim, tuple(run.unset), tuple(run.warnings))
