"""Broken files end in a message with a place, whatever was broken; nothing else escapes."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from deployer.cli.main import cli
from deployer.config import load_config
from deployer.secrets.dotenv import parse
from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import ConfigError, FreeholdError
from freehold.process import Completed, LocalRunner
from tests.unit.deployer.config.test_config_corpus import CASES, CORPUS
from tests.unit.deployer.config.test_config_load import FOUNDING
from tests.unit.deployer.config.test_config_model import FLEET

RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TEMPLATE = (
    "service: <%= ENV.fetch('S', 'a') %>\nservers:\n<% %w[a b].each do |h| -%>\n  - <%= h %>\n<% end -%>\n"
)


OF_THE_FILE = ("larger than", "the file is empty")
"""Mistakes that are in no line."""


def seeds() -> list[str]:
    """Files that load: our own, and plain ones of the collected, where they are here."""
    found = [FOUNDING, FLEET]
    for case in CASES:
        path = CORPUS / f"{case.name}.yml"
        if case.fails is None and case.destination is None and path.is_file():
            text = path.read_text()
            if "<%" not in text and "{{" not in text:
                found.append(text)
    return found


SEEDS = seeds()


class NoProcess(LocalRunner):
    """A runner that must not be called."""

    def run(self, *words: Any, **_: Any) -> Completed:
        raise AssertionError(f"a broken file ran {words}")


def load(text: str | bytes) -> ConfigError | None:
    """Load a text; only errors of ours with a place may escape, and templates may run nothing here."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "config").mkdir()
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        (root / "config/deploy.yml").write_bytes(data)
        try:
            load_config(root, environ={}, runner=NoProcess(), unsupported={})
        except ConfigError as exc:
            assert exc.message
            assert exc.where is not None, exc
            assert exc.where.file == "config/deploy.yml"
            lines = data.count(b"\n") + data.count(b"\r") + data.count("\x85".encode()) + 1
            lines += data.count("\u2028".encode()) + data.count("\u2029".encode())
            assert 1 <= exc.where.line <= lines or exc.message.startswith(OF_THE_FILE), exc
            return exc
        except FreeholdError as exc:
            raise AssertionError(f"not a ConfigError: {exc!r}") from exc
    return None


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70000),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(
        ["web", "a:b:c", "*", "<<", "x-y", "%", "~", "8080:80", "1e3", "::", "{{ env.A }}", "{% x"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=6) | st.just("hosts"), inner, max_size=3),
    ),
    max_leaves=6,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@RELAXED
@given(st.data(), st.sampled_from([FOUNDING, FLEET]), VALUES)
def test_any_value_may_be_wrong(data: st.DataObject, text: str, new: Any) -> None:
    document = yaml.safe_load(text)
    path = data.draw(st.sampled_from(paths(document)))
    load(yaml.safe_dump(replaced(document, path, new), sort_keys=False))


@RELAXED
@given(
    st.sampled_from([FOUNDING, FLEET, TEMPLATE]),
    st.integers(0, 2000),
    st.integers(0, 12),
    st.text(max_size=6)
    | st.sampled_from(["\t", "\n", "  ", ":", "- ", "&a", "*a", "<%", "%>", "<%=", "'", "{", "}", "|"]),
)
def test_any_part_of_the_text_may_be_torn(text: str, at: int, length: int, new: str) -> None:
    at %= len(text)
    load(text[:at] + new + text[at + length :])


@RELAXED
@given(st.binary(max_size=200))
@example(b"\xff\xfe\x00")
@example(b"a: &a [*a]")
@example(b"a: &a {<<: *a}")
@example(b"[" * 3000)
@example(b"a: !!python/object/apply:os.system [x]")
def test_any_bytes(data: bytes) -> None:
    load(data)


def test_a_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    refused = load("\n".join(lines))
    assert refused is not None and "anchors expand" in refused.message


@dataclass(frozen=True)
class Written:
    """A key as it stands in a block of its own line: where, and what is above it."""

    name: str
    line: int
    column: int
    path: tuple[str, ...]


def written(text: str) -> list[Written]:
    """Every key that begins a line; not in braces, where a line is more than one key and its value."""
    lines = text.split("\n")

    def walk(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[Written]:
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from walk(item, (*path, "[]"))
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            line, column = key.start_mark.line, key.start_mark.column
            plain = isinstance(key, yaml.ScalarNode) and key.style is None and key.value != "<<"
            plain = plain and not node.flow_style
            if plain and not lines[line][:column].strip():
                yield Written(key.value, line + 1, column, path)
            yield from walk(value, (*path, str(key.value)))

    return list({(key.line, key.column): key for key in walk(yaml.compose(text), ())}.values())


def changed(text: str, line: int, new: str) -> str:
    """The text with another line in place of one."""
    lines = text.split("\n")
    return "\n".join([*lines[: line - 1], new, *lines[line:]])


def at_line(text: str, line: int) -> str:
    return text.split("\n")[line - 1]


CLOSED = ("proxy", "ssh", "sshkit", "builder", "registry", "boot", "healthcheck", "buffering", "cache")
"""Sections with no keys but their own."""


@RELAXED
@given(st.data(), st.sampled_from(SEEDS), st.sampled_from(["x{}", "{}s2", "{}_{}", "{}"]), st.booleans())
def test_a_key_that_is_not_known_is_named(data: st.DataObject, text: str, form: str, upper: bool) -> None:
    keys = [key for key in written(text) if not key.path or key.path[-1] in CLOSED]
    key = data.draw(st.sampled_from([one for one in keys if not one.name.startswith("x-")]))
    name = form.format(key.name, key.name)
    name = name.upper() if upper or name == key.name else name
    rest = at_line(text, key.line)[key.column + len(key.name) :]
    refused = load(changed(text, key.line, " " * key.column + name + rest))
    assert refused is not None and refused.where is not None
    assert refused.where.line == key.line, refused
    assert refused.where.key.split(".")[-1] == name and name in refused.message, refused


@RELAXED
@given(st.data(), st.sampled_from(SEEDS))
def test_a_key_that_stands_twice_is_named(data: st.DataObject, text: str) -> None:
    key = data.draw(st.sampled_from(written(text)))
    again = " " * key.column + f"{key.name}: again\n" + at_line(text, key.line)
    refused = load(changed(text, key.line, again))
    assert refused is not None and refused.where is not None
    assert f"{key.name!r} stands twice (first on line {key.line})" in refused.message, refused
    assert refused.where.line == key.line + 1 and refused.where.key.endswith(key.name)


@RELAXED
@given(st.data(), st.sampled_from(SEEDS), st.integers(1, 4), st.sampled_from([" ", "\t", "- ", "\u00a0"]))
def test_any_line_may_be_indented_wrongly(data: st.DataObject, text: str, much: int, by: str) -> None:
    line = data.draw(st.integers(1, text.count("\n")))
    old = at_line(text, line)
    load(changed(text, line, by * much + old))
    load(changed(text, line, old[min(much, len(old) - len(old.lstrip())) :]))


@RELAXED
@given(st.data(), st.sampled_from(SEEDS), st.sampled_from(["twice", "list", "below", "above"]))
def test_anything_may_be_nested_wrongly(data: st.DataObject, text: str, how: str) -> None:
    document = yaml.safe_load(text)
    path = data.draw(st.sampled_from(paths(document)))
    value: Any = document
    for key in path:
        value = value[key]
    new: Any = {"twice": {path[-1]: value}, "list": [value], "below": {"x": [[{}], value]}, "above": None}[
        how
    ]
    broken = replaced(document, path, new)
    if how == "above" and isinstance(broken, dict):
        broken[str(path[-1])] = value
    load(yaml.safe_dump(broken, sort_keys=False))


HUGE = (
    *(
        "9" * 5000,
        "-" + "9" * 5000,
        "0x" + "f" * 5000,
        "1" + ":59" * 3000,
        "1" + ":59" * 250 + ".5",
        "1e400",
        ".inf",
        "9" * 400 + ".5",
    ),
    *("x" * 200_000, "a," * 20_000, "0b" + "1" * 20_000, "1_" * 3000 + "1"),
)


# Without the search for the smallest example: there is none, and it takes long.
@settings(RELAXED, max_examples=80, phases=[Phase.explicit, Phase.generate])
@given(st.data(), st.sampled_from(SEEDS), st.sampled_from(HUGE), st.sampled_from(["{}", "[{}]", '"{}"']))
def test_any_value_may_be_huge(data: st.DataObject, text: str, huge: str, form: str) -> None:
    key = data.draw(st.sampled_from(written(text)))
    refused = load(changed(text, key.line, " " * key.column + f"{key.name}: {form.format(huge)}"))
    # A message is for people, whatever it quotes.
    assert refused is None or len(refused.message) + len(refused.hint) < 2000, refused.message[:500]


@pytest.mark.parametrize("form", ["[", "{a: ", "- ", "a:\n", "? ", "&a{} [", "!!seq ["])
def test_anything_may_be_nested_deeply(form: str) -> None:
    for depth in (70, 400, 3000):
        parts = [form.format(number) if "{}" in form else form for number in range(depth)]
        if form.endswith("\n"):
            parts = [" " * number + part for number, part in enumerate(parts[:900], 2)]
        refused = load("service: a\nservers:\n  " + "".join(parts))
        assert refused is not None and refused.where is not None and refused.where.line >= 2, refused


@RELAXED
@given(st.sampled_from(SEEDS), st.integers(0, 5000), st.binary(min_size=1, max_size=5))
@example(FOUNDING, 40, b"\0")
@example(FOUNDING, 40, b"\xff\xfe")
@example(FOUNDING, 40, b"\x1b[2J")
def test_binary_data_may_stand_anywhere(text: str, at: int, new: bytes) -> None:
    data = text.encode()
    at %= len(data)
    load(data[:at] + new + data[at:])


OVERLAYS = (
    ("proxy:\n  hots: a.test\n", 2, "proxy.hots"),
    ("env:\n  clear: {A: b}\nenv: {}\n", 3, "env"),
    ("proxy:\n  host: a.test\n   ssl: true\n", 3, ""),
    ("proxy:\n\thost: a.test\n", 2, ""),
    ("proxy:\n  proxy:\n    host: a.test\n", 2, "proxy.proxy"),
    ("proxy:\n  app_port: " + "9" * 5000 + "\n", 2, "proxy.app_port"),
    ("proxy:\n  app_port: 0x" + "f" * 5000 + "\n", 2, "proxy.app_port"),
    ("\nenv: " + "[" * 3000 + "\n", 2, ""),
    ("labels:\n  a: \0\n", 2, ""),
    ("labels:\n  a: \udcff\n", 2, ""),
    ("- a\n- b\n", 1, ""),
)


@pytest.mark.parametrize(("text", "line", "key"), OVERLAYS, ids=[repr(text[:30]) for text, *_ in OVERLAYS])
def test_the_command_line_names_the_destinations_file(tmp_path: Path, text: str, line: int, key: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/deploy.yml").write_text(FOUNDING)
    overlay = tmp_path / "config/deploy.staging.yml"
    overlay.write_bytes(text.encode("utf-8", "surrogateescape"))
    out, err = io.StringIO(), io.StringIO()
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    context = Context(console=Console(out=out, err=err, color=False), root=tmp_path, environ=environ)
    assert run(cli, ["config", "-d", "staging"], context) == 2, err.getvalue()
    said = err.getvalue()
    assert said.startswith(f"error: config/deploy.staging.yml:{line}") and out.getvalue() == ""
    assert key in said and "Traceback" not in said and "defect" not in said
    assert len(said) < 2000, said[:500]


ERB_PARTS = (
    *("ENV", "['A']", ".fetch", "(", ")", "'x'", '"#{', "}", "{ |a|", "do |x|", "end", "if ", "else"),
    *(" ? ", " : ", "x", " = ", "1", "[", "]", ", ", ".map", "&:y", "File", "||", "..", "\n", "%w[", "/"),
    *(
        "case ",
        "when ",
        "=>",
        "unless ",
        "next",
        "begin",
        "rescue",
        "<<",
        ".each",
        "-%>\n<%",
        " and not ",
    ),
)
ERB = st.lists(st.sampled_from(ERB_PARTS), max_size=14)


@RELAXED
@given(ERB, st.booleans())
def test_any_erb(parts: list[str], emit: bool) -> None:
    code = "".join(parts)
    load(f"service: a\nservers: [<%{'=' if emit else ''} {code} %>]\n")


@RELAXED
@given(st.text(alphabet="AB=$(){}'\"\\#: \n-x\t", max_size=40))
def test_any_secrets_file(text: str) -> None:
    try:
        parsed = parse(text, "f")
    except ConfigError as exc:
        assert exc.where is not None
        assert 1 <= exc.where.line <= text.count("\n") + 1
    else:
        assert all(entry.name for entry in parsed.entries)
