"""Lint, format and types are tests like any other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from freehold.process import Completed, LocalRunner

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(program: str, *words: str, cwd: Path = ROOT) -> Completed:
    return LocalRunner().run((BIN / program, *words), cwd=cwd, timeout=600, check=False)


def said(done: Completed) -> str:
    return f"{done.stdout}\n{done.stderr}"


CHECKS = {
    "ruff check": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "mypy of the tests": ("mypy", "--explicit-package-bases", "tests"),
    "mypy of what else there is": ("mypy", "--explicit-package-bases", "benchmarks", "scripts"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_code_passes(name: str) -> None:
    done = run(*CHECKS[name])
    assert done.returncode == 0, said(done)


def test_no_merge_is_left_half_done() -> None:
    """In what ruff and mypy do not read."""
    texts = [ROOT / "Makefile", ROOT / ".ci/run", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    texts += [path for folder in ("scripts", "vagrant", "examples") for path in ROOT.glob(f"{folder}/**/*")]
    assert len(texts) > 50
    marks = tuple(mark * 7 for mark in "<>|")
    left = [
        path
        for path in texts
        if path.is_file() and any(line.startswith(marks) for line in path.read_text().splitlines())
    ]
    assert left == []


@pytest.mark.parametrize(
    ("program", "words", "text"),
    [
        ("ruff", ("check",), "import os\n"),
        ("ruff", ("check",), "def f() -> None:\n    print('a library does not print')\n"),
        ("ruff", ("format", "--check"), "x = {  'a':1 }\n"),
        ("mypy", (), "def f(x): return x\n"),
        ("mypy", (), "x: int = 'text'\n"),
    ],
)
def test_a_fault_does_not_pass(program: str, words: tuple[str, ...], text: str, tmp_path: Path) -> None:
    """The project's own settings find it, in a file outside of the project."""
    faulty = tmp_path / "faulty.py"
    faulty.write_text(text)
    done = run(program, *words, *_settings(program), str(faulty))
    assert done.returncode == 1, said(done)
    assert "faulty.py" in said(done)


def _settings(program: str) -> tuple[str, ...]:
    return (
        (f"--config={ROOT / 'pyproject.toml'}",)
        if program == "ruff"
        else (f"--config-file={ROOT / 'pyproject.toml'}",)
    )
