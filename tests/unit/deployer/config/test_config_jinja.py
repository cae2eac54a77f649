"""Jinja2 in configuration files, the native way of templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.config.template import Rendered, Source, render
from deployer.config.template.world import local_world
from freehold.errors import ConfigError
from freehold.process import LocalRunner
from freehold.source import Location

ENV = {"PATH": "/usr/bin:/bin", "X": "ex"}


def jinja(tmp_path: Path, text: str, destination: str | None = "staging") -> Rendered:
    return render(Source(text, "f.yml"), local_world(tmp_path, ENV, LocalRunner()), destination)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {{ env.X }}\n", "a: ex\n"),
        ('a: {{ env.NO | default("d") }}\n', "a: d\n"),
        (
            "{% if destination == 'staging' %}\na: 1\n{% else %}\na: 2\n{% endif %}\nb: 1\n",
            "\na: 1\n\nb: 1\n",
        ),
        ("a: {% if env.X %}1{% endif %}\nb: 2\n", "a: 1\nb: 2\n"),
        (
            "hosts:\n{% for n in range(1, 3) %}\n  - web-{{ n }}\n{% endfor %}\n",
            "hosts:\n\n  - web-1\n\n  - web-2\n\n",
        ),
        ("{% for n in [1, 2] -%}\n  - {{ n }}\n{% endfor -%}\nx\n", "- 1\n- 2\nx\n"),
        ("v: {{ read('.version') }}\n", "v: 1.2\n"),
        ("v: {{ run('echo $X') }}\n", "v: ex\n"),
        ("f: '{{.State}}'\n", "f: '{{.State}}'\n"),
        ("{% raw %}f: '{{.State}}'{% endraw %}\na: {{ env.X }}\n", "f: '{{.State}}'\na: ex\n"),
    ],
)
def test_templates(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / ".version").write_text("1.2\n")
    assert jinja(tmp_path, text).text == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: {{ env.NO }}\n", 2, "the environment variable NO is not set"),
        ("a: 1\nb: {{ env.X + }}\n", 2, "Jinja2:"),
        ("{% if x %}\n", 1, "Jinja2:"),
        ("a: {{ env.X.__class__.__mro__ }}\n", 1, "Jinja2:"),
        ("a: 1\n\nb: {{ read('nope') }}\n", 3, "nope: No such file"),
        ("a: 1\nb: {{ run('exit 3') }}\n", 2, "exited with 3"),
        ("a: {{ env.X / 2 }}\n", 1, "Jinja2:"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        jinja(tmp_path, text)
    assert message in caught.value.message
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("f.yml", line)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n{% for n in range(2) %}\n- x: {{ n }}\n  y: 1\n{% endfor %}\nlast: 1\n",
        "a: 1\n{%- if true %}\n\nb: 2\n{%- endif %}\nlast: 1\n",
        "a: 1\n{# a\ncomment #}\nb: {{ env.X }}\nlast: 1\n",
    ],
)
def test_lines_of_the_text_are_lines_of_the_template(tmp_path: Path, text: str) -> None:
    rendered = jinja(tmp_path, text)
    lines = rendered.text.split("\n")
    at = lines.index("last: 1") + 1
    assert rendered.move(Location("f.yml", at, 1)).line == text.split("\n").index("last: 1") + 1
    assert "\ue000" not in rendered.text
