"""Imports only go down: deployer > lab > builder > cloudinit > freehold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("freehold", "cloudinit", "builder", "lab", "deployer")
# `python -m freehold` has to start the command line, which stands on top of everything.
DOORS = {Path("freehold/__main__.py")}


def imported(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every import, also of those inside functions and `TYPE_CHECKING`.

    `package`: the dotted package that the source is in, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield node.lineno, ".".join([*base, *([node.module] if node.module else [])])
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield node.lineno, name


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def climbing(source: str, path: Path) -> list[str]:
    """Imports of `path` (relative to the root) that go up, or out of the product into its tests."""
    floor = FLOORS.index(path.parts[0])
    package = ".".join(path.parts[:-1])
    forbidden = {*FLOORS[floor + 1 :], "tests", "benchmarks"}
    return [
        f"{path}:{line}: {path.parts[0]} must not import {name}"
        for line, name in imported(source, package)
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_what_is_below_it(floor: str) -> None:
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files or floor == "lab"
    wrong = []
    for file in files:
        path = file.relative_to(ROOT)
        if path not in DOORS:
            wrong += climbing(file.read_text(), path)
    assert wrong == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("freehold/errors.py", "import deployer"),
        ("freehold/errors.py", "from cloudinit.profile import HostProfile"),
        ("cloudinit/iso.py", "def f():\n    import builder.spec"),
        ("builder/spec.py", "if TYPE_CHECKING:\n    from lab import x"),
        ("lab/domain.py", "import importlib\nimportlib.import_module('deployer.remote')"),
        ("lab/sub/domain.py", "from ...deployer import remote"),
        ("deployer/remote.py", "from tests.rig import Rig"),
    ],
)
def test_an_import_that_goes_up_is_found(place: str, source: str) -> None:
    assert len(climbing(source, Path(place))) == 1


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("deployer/remote.py", "from lab.domain import x\nimport freehold.errors, cloudinit"),
        ("builder/spec.py", "from cloudinit import profile\nfrom . import disk\nfrom .disk import layout"),
        ("freehold/errors.py", "import labrador\nfrom laboratory import x"),
        ("lab/domain.py", "from .deployer import x"),
    ],
)
def test_an_import_that_goes_down_or_sideways_is_left_alone(place: str, source: str) -> None:
    assert climbing(source, Path(place)) == []


def test_an_effect_stays_behind_its_door() -> None:
    """Only the named modules touch the world through these libraries; all else receives them."""
    doors = {
        "libvirt": "lab/",
        "fabric": "deployer/",
        "paramiko": "deployer/",
        "subprocess": "freehold/",
    }
    wrong = []
    for floor in FLOORS:
        for file in sorted((ROOT / floor).rglob("*.py")):
            path = file.relative_to(ROOT)
            for line, name in imported(file.read_text(), ".".join(path.parts[:-1])):
                door = doors.get(name.split(".")[0])
                if door is not None and not str(path).startswith(door):
                    wrong.append(f"{path}:{line}: {name} is for {door} alone")
    assert wrong == []
