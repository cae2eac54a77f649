"""`freehold lab` where there is nothing, or the wrong thing, to work on."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.command import Context, run
from freehold.console import Console
from lab.cli import lab, make_group
from lab.model import LabSpec, MachineSpec
from lab.state import labs_dir, save_state
from tests.unit.lab.samples import lab_state


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


def call(root: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    context = Context(console=Console(out=out, err=err), root=root)
    return run(lab, words, context), out.getvalue(), err.getvalue()


def lab_file(root: Path, text: str) -> None:
    (root / "config").mkdir(exist_ok=True)
    (root / "config" / "lab.yml").write_text(text)


@pytest.mark.parametrize(
    ("text", "words", "code", "said"),
    [
        ("", ("up",), 2, "nothing says which machines"),
        ("memory: [1]\n", ("up",), 2, "config/lab.yml:1:9 memory"),
        ("machines:\n  a: {}\n  b: {}\n  a: {}\n", ("up",), 2, "config/lab.yml:4:3 machines.a"),
        (
            "hypervisors: {one: 'qemu:///system', two: 'qemu:///system'}\nmachines: {a: {}}\n",
            ("up",),
            2,
            "are the same libvirt",
        ),
        ("", ("status",), 1, "there is no lab"),
        ("name: shop\n", ("status",), 1, "there is no lab 'shop'"),
        ("name: shop\n", ("ssh", "web-1"), 1, "there is no lab 'shop'"),
        ("", ("sttaus",), 2, "Did you mean 'status'"),
        ("", ("fault", "slow", "web-1", "--loss", "150%"), 1, "there is no lab"),
        ("", ("cp", "one"), 2, "a source and a destination"),
    ],
)
def test_the_message_says_what_to_do(
    tmp_path: Path, text: str, words: tuple[str, ...], code: int, said: str
) -> None:
    lab_file(tmp_path, text)
    found, out, err = call(tmp_path, *words)
    assert (found, out) == (code, "")
    assert said in err
    assert "hint:" in err
    assert "Traceback" not in err


def test_down_without_a_lab_is_no_failure(tmp_path: Path) -> None:
    assert call(tmp_path, "down")[0] == 0
    assert not labs_dir().exists()


def test_an_unknown_machine_is_named(tmp_path: Path) -> None:
    save_state(lab_state(labs_dir().parent))
    code, _, err = call(tmp_path, "logs", "web-9")
    assert code == 1
    assert "has no machine 'web-9'" in err
    assert "web-1, web-2, db-1" in err


def test_two_dashes_before_a_command_are_no_part_of_it(tmp_path: Path) -> None:
    save_state(lab_state(labs_dir().parent))
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor last; do :; done; echo "asked for: $last"\n')
    program.chmod(0o755)
    env = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    asked = [
        subprocess.check_output([sys.executable, "-m", "freehold", "lab", "ssh", "web-1", *words], env=env)
        for words in (("ls", "-l"), ("--", "ls", "-l"))
    ]
    assert asked[0] == asked[1]
    assert b"ls -l" in asked[0]


def test_the_only_lab_needs_no_name_and_two_do(tmp_path: Path) -> None:
    save_state(lab_state(labs_dir().parent))
    code, out, _ = call(tmp_path, "hosts")
    assert code == 0
    assert "127.80.3.11 web-1" in out
    assert call(tmp_path, "hosts", "--lab", "shop")[0] == 0
    (labs_dir() / "other").mkdir()
    code, _, err = call(tmp_path, "hosts")
    assert code == 1
    assert "there are other, shop" in err


def test_among_several_labs_the_projects_own_is_meant(tmp_path: Path) -> None:
    save_state(lab_state(labs_dir().parent))
    (labs_dir() / "other").mkdir()
    out = io.StringIO()
    group = make_group(lambda _context, _destination: LabSpec("shop", (MachineSpec("web-1"),)))
    assert run(group, ["hosts"], Context(console=Console(out=out), root=tmp_path)) == 0
    assert "freehold lab shop" in out.getvalue()
