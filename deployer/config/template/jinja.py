"""Jinja2 in configuration files: `{{ env.X }}`, `{% if destination == "staging" %}`.

Known are `env` (the environment), `destination`, `read("path")` and `run("command")`. A variable
that is not set is an error unless a default is given: `{{ env.X | default("y") }}`.
"""

from __future__ import annotations

import re
from typing import Any

from deployer.config.template.output import Rendered
from deployer.config.template.world import World
from freehold.errors import ConfigError
from freehold.source import Location

# Only what begins like this is Jinja: `{{.State}}` of a docker format stays as it is.
SIGN = re.compile(r"\{\{-?\s*(env|destination|read|run)\b|\{%")
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


def is_jinja(text: str) -> bool:
    """Whether a text is a Jinja2 template."""
    return SIGN.search(text) is not None


def render_jinja(text: str, name: str, world: World, destination: str | None) -> Rendered:
    """Render a template; ConfigError with its line."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if _OPEN in text or _CLOSE in text:
        raise ConfigError("characters of the private use area are not allowed", where=Location(name))
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, lstrip_blocks=True, keep_trailing_newline=True
    )

    def run(script: str) -> str:
        ran = world.run(script, world.environ)
        if ran.returncode != 0:
            raise ConfigError(
                f"the command {script!r} exited with {ran.returncode}",
                details=ran.stderr.strip().splitlines()[-5:],
            )
        return ran.stdout.rstrip("\n")

    known: dict[str, Any] = {
        "env": dict(world.environ),
        "destination": destination,
        "read": lambda path: world.read(path).rstrip("\n"),
        "run": run,
    }
    try:
        marked = environment.from_string(_marked(text)).render(known)
    except jinja2.TemplateSyntaxError as exc:
        raise ConfigError(f"Jinja2: {exc.message}", where=Location(name, exc.lineno)) from exc
    except jinja2.UndefinedError as exc:
        variable = re.search(r"has no attribute '(\w+)'", str(exc))
        line = _line_of(exc)
        if variable:
            raise ConfigError(
                f"the environment variable {variable[1]} is not set",
                where=Location(name, line),
                hint=f'set it, or give it a default: {{{{ env.{variable[1]} | default("…") }}}}',
            ) from exc
        raise ConfigError(f"Jinja2: {exc}", where=Location(name, line)) from exc
    except ConfigError as exc:
        raise ConfigError(
            exc.message, where=Location(name, _line_of(exc)), hint=exc.hint, details=exc.details
        ) from exc
    except OSError as exc:
        raise ConfigError(
            f"Jinja2: {exc.filename}: {exc.strerror}", where=Location(name, _line_of(exc))
        ) from exc
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as exc:
        raise ConfigError(f"Jinja2: {exc}", where=Location(name, _line_of(exc))) from exc
    return _unmarked(marked, text)


def _line_of(exc: BaseException) -> int:
    """The line of the template in the traceback that Jinja2 rewrites to it."""
    line, trace = 0, exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _marked(text: str) -> str:
    """The template with a mark of its line at the end of each line outside tags."""
    parts: list[str] = []
    at, line = 0, 1
    after = ""
    for tag in [*_TAG.finditer(text), None]:
        end = tag.start() if tag else len(text)
        before = tag.group()[:3] if tag else ""
        parts.append(_mark(text[at:end], line, after, before))
        line += text.count("\n", at, end)
        if tag is None:
            break
        parts.append(tag.group())
        line += tag.group().count("\n")
        after = tag.group()[-3:]
        at = tag.end()
    return "".join(parts)


def _mark(data: str, line: int, after: str, before: str) -> str:
    lines = data.split("\n")
    marked: list[str] = []
    for offset, part in enumerate(lines[:-1]):
        # Blanks behind `-%}` and in front of `{%-` are taken away with their newlines.
        trimmed = after.startswith("-") and not "".join(lines[: offset + 1]).strip()
        stripped = before.endswith("-") and not "".join(lines[offset + 1 :]).strip()
        marked.append(part if trimmed or stripped else f"{part}{_OPEN}{line + offset}{_CLOSE}")
    return "\n".join([*marked, lines[-1]])


def _unmarked(marked: str, template: str) -> Rendered:
    """The text without marks, and the lines that they name."""
    source = template.split("\n")
    lines: list[int] = []
    texts: list[str] = []
    verbatim: set[int] = set()
    for number, part in enumerate(marked.split("\n"), 1):
        marks = _MARK.findall(part)
        plain = _MARK.sub("", part)
        last = lines[-1] if lines else 0
        lines.append(int(marks[-1]) if marks else min(last + 1, len(source)))
        texts.append(plain)
        if source[lines[-1] - 1] == plain:
            verbatim.add(number)
    return Rendered("\n".join(texts), tuple(lines), frozenset(verbatim))
