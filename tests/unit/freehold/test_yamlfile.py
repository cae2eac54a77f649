from __future__ import annotations

from pathlib import Path

import pytest

from freehold import yamlfile
from freehold.errors import ConfigError


def refused(text: str, **kwargs: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        yamlfile.parse(text, "f.yml", **kwargs)  # type: ignore[arg-type]
    return caught.value


def test_positions_survive() -> None:
    root = yamlfile.parse("a: 1\nb:\n  - x\n  - c: true\n", "f.yml")
    node = root.get("b").elements()[1].get("c")  # type: ignore[union-attr]
    assert node is not None
    assert (node.where.line, node.where.column, node.where.key) == (4, 8, "b[1].c")
    assert node.key_where is not None and node.key_where.column == 5
    assert root.plain() == {"a": 1, "b": ["x", {"c": True}]}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\na: 2\n", 2, "stands twice"),
        ("a:\n\tb: 1\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: !!python/object:os.system {}\n", 1, "tag"),
        ("a: !env X\n", 1, "tag"),
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("? [1, 2]\n: x\n", 1, "plain word"),
        ("a: *nowhere\n", 1, "alias"),
        ("<<: 3\n", 1, "merges maps"),
    ],
)
def test_refused_with_place(text: str, line: int, word: str) -> None:
    error = refused(text)
    assert error.where is not None and error.where.line == line
    assert word in error.message


def test_tab_names_the_cure() -> None:
    assert "spaces" in refused("a:\n\tb: 1\n").hint


def test_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "expand" in refused("\n".join(lines)).message


@pytest.mark.parametrize("text", ["a: &a\n  b: *a\n", "[" * 2000 + "]" * 2000])
def test_endless_nesting_is_refused(text: str) -> None:
    assert "nested deeper" in refused(text).message


def test_merge_keys_and_duplicates_kept() -> None:
    text = "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n  b: 4\n"
    assert yamlfile.parse(text, "f", duplicates="last").plain()["y"] == {"a": 1, "b": 4}


def test_raw_text_of_numbers() -> None:
    root = yamlfile.parse("a: 4001:4001\nb: 1.10\n", "f")
    assert [node.raw for _, node in root.items()] == ["4001:4001", "1.10"]


def test_empty_and_dates() -> None:
    assert yamlfile.parse("", "f").kind == "null"
    assert yamlfile.parse("d: 2026-01-02\n", "f").plain() == {"d": "2026-01-02"}


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"a: \xff\n", "UTF-8"), (b"a\0b", "binary"), (b"#" * 1_000_001, "larger than")],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "f.yml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=word):
        yamlfile.load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        yamlfile.load(tmp_path / "none.yml")
