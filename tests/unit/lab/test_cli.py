"""`freehold lab` where there is nothing, or the wrong thing, to work on."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import UsageError
from lab.cli import lab, make_group
from lab.locks import locked
from lab.model import LabSpec, MachineSpec
from lab.places import labs_dir
from lab.state import save_state
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
        ("machines:\n  a: {networks: [back]}\n", ("up",), 2, "config/lab.yml:2:18 machines.a.networks[0]"),
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


def test_an_ssh_that_a_signal_ended_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(lab_state(labs_dir().parent))
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nkill -TERM $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert call(tmp_path, "exec", "true")[0] == 143
    assert subprocess.call([sys.executable, "-m", "freehold", "lab", "ssh", "web-1", "true"]) == 143


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


def test_an_image_on_the_command_line_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_file(tmp_path, "machines: {web-1: {}}\n")
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    code, _, err = call(tmp_path, "up", "--image", "images")
    assert code == 1
    assert f"{tmp_path}/images is not a golden image" in err


def test_a_project_never_means_another_projects_lab(tmp_path: Path) -> None:
    save_state(lab_state(labs_dir().parent))
    lab_file(tmp_path, "name: blog\n")
    code, _, err = call(tmp_path, "reset")
    assert code == 1
    assert "there is no lab 'blog'" in err
    assert "`--lab NAME`; there are shop" in err
    code, _, err = call(tmp_path, "down")
    assert code == 0
    assert "there is no lab blog; there are shop" in err
    lab_file(tmp_path, "machines: {web-1: {}}\n")
    assert "there is no lab 'test-a-project-" in call(tmp_path, "reset")[2]
    assert (labs_dir() / "shop" / "lab.json").is_file()


def test_a_lab_file_without_a_name_means_the_lab_that_up_would_make(tmp_path: Path) -> None:
    root = tmp_path / "My_App"
    root.mkdir()
    lab_file(root, "machines: {web-1: {}}\n")
    for name in ("my-app", "other"):
        save_state(lab_state(labs_dir().parent, LabSpec(name, (MachineSpec("web-1"),))))
    assert "freehold lab my-app" in call(root, "hosts")[1]


def deployed(root: Path, *words: str, destinations: bool = True) -> tuple[int, str, str]:
    """The command where the deploy file is of `blog`, which has destinations."""
    (root / "config").mkdir(exist_ok=True)
    (root / "config" / "deploy.staging.yml").touch()

    def mirror(_context: Context, destination: str | None) -> LabSpec:
        if destination is None and not destinations:
            raise UsageError("it cannot be read")
        return LabSpec(f"blog-{destination}" if destination else "blog", (MachineSpec("web-1"),))

    out, err = io.StringIO(), io.StringIO()
    context = Context(console=Console(out=out, err=err), root=root)
    return run(make_group(mirror), words, context), out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("labs", "readable", "said"),
    [
        (("shop",), True, "there is no lab 'blog'"),
        (("shop", "blog-staging"), True, "freehold lab blog-staging"),
        (("shop", "blog-staging"), False, "freehold lab blog-staging"),
        (("blog", "blog-staging"), True, "# freehold lab blog\n"),
        (("shop",), False, "there is no lab 'blog-staging'"),
    ],
)
def test_a_destinations_lab_is_the_projects_own(
    tmp_path: Path, labs: tuple[str, ...], readable: bool, said: str
) -> None:
    for name in labs:
        save_state(lab_state(labs_dir().parent, LabSpec(name, (MachineSpec("web-1"),))))
    _, out, err = deployed(tmp_path, "hosts", destinations=readable)
    assert said in out + err


def test_a_slip_in_the_lab_file_is_warned_of_beside_a_deploy_file(tmp_path: Path) -> None:
    lab_file(tmp_path, "machines: {wbe-1: {memory: 2G}}\n")
    code, _, err = deployed(tmp_path, "plan")
    assert code == 0
    assert "names wbe-1, which is no host here; did you mean web-1?" in err


def test_a_lab_that_stays_does_not_keep_the_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (labs_dir() / name).mkdir(parents=True)
    with locked("one"):
        code, _, err = call(tmp_path, "down", "--all")
    assert code == 1
    assert "another command is changing the lab one" in err
    assert "1 of 2 labs are not gone" in err
    assert [path.name for path in labs_dir().iterdir() if path.is_dir()] == ["one"]
