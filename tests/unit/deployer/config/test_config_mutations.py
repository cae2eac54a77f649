"""Broken files end in a message with a place, whatever was broken; nothing else escapes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deployer.config import load_config
from deployer.secrets.dotenv import parse
from freehold.errors import ConfigError, FreeholdError
from freehold.process import Completed, LocalRunner
from tests.unit.deployer.config.test_config_load import FOUNDING
from tests.unit.deployer.config.test_config_model import FLEET

RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TEMPLATE = (
    "service: <%= ENV.fetch('S', 'a') %>\nservers:\n<% %w[a b].each do |h| -%>\n  - <%= h %>\n<% end -%>\n"
)


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
