"""The pytest plugin in a run of its own: which lab, which scope, what a failure shows, what it costs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.places import labs_dir
from lab.state import Hypervisor, save_state
from tests.unit.lab.samples import lab_state

pytest_plugins = ["pytester"]

# The real fixtures but for the machines: a lab that was brought up once and answers nothing now.
STANDING = """
import io
import pytest
from freehold.console import Console
from freehold.process import LocalRunner
from lab.lab import Lab

@pytest.fixture(scope="session")
def lab():
    return Lab("shop", runner=LocalRunner(), console=Console(out=io.StringIO(), err=io.StringIO()))
"""


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


def run(pytester: pytest.Pytester, *words: str) -> str:
    # The entry point loads the plugin, as it does for every project.
    done = pytester.runpytest_inprocess(*words)
    return f"{done.stdout.str()}\n{done.stderr.str()}"


def test_a_failed_test_shows_the_consoles_and_says_why_there_is_no_journal(
    pytester: pytest.Pytester,
) -> None:
    state = lab_state(labs_dir().parent)
    save_state(state)
    console = state.console(state.machine("web-2"))
    console.parent.mkdir(parents=True)
    console.write_text("Booting\nKernel panic - not syncing: no root\n")
    pytester.makeconftest(STANDING)
    pytester.makepyfile("def test_it(lab):\n    assert lab.name == 'other'\n")
    said = run(pytester)
    assert "web-2: console" in said
    assert "Kernel panic - not syncing: no root" in said
    assert "web-1: journal" in said
    assert "no SSH server answers" in said


def test_a_libvirt_that_is_gone_is_told_and_pytest_goes_on(pytester: pytest.Pytester) -> None:
    gone = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"
    there = Hypervisor("", gone, "tcg", "", Path("/pool"))
    save_state(replace(lab_state(labs_dir().parent), hypervisors=(there,), token="abc123", private=False))
    pytester.makeconftest(STANDING)
    pytester.makepyfile("def test_it(lab): assert False\ndef test_other(): pass\n")
    said = run(pytester)
    assert "1 failed, 1 passed" in said
    assert "db-1: console" in said
    assert f"libvirt at {gone} does not answer" in said


def test_a_test_that_passes_or_uses_no_lab_shows_nothing(pytester: pytest.Pytester) -> None:
    save_state(lab_state(labs_dir().parent))
    pytester.makeconftest(STANDING)
    pytester.makepyfile("def test_it(lab): pass\ndef test_other(): assert False\n")
    said = run(pytester)
    assert "1 failed, 1 passed" in said
    assert "console" not in said


def test_the_lab_is_the_one_in_the_projects_file(pytester: pytest.Pytester) -> None:
    config = pytester.path / "config"
    config.mkdir()
    (config / "lab.yml").write_text("name: shop\nmachines:\n  web-1: {}\n  db-1: {roles: [db]}\n")
    pytester.makepyfile(
        """
        def test_it(lab_spec):
            assert lab_spec.name == "shop"
            assert {item.name: item.roles for item in lab_spec.machines} == {"web-1": (), "db-1": ("db",)}
        """
    )
    assert "1 passed" in run(pytester)


def test_the_machines_are_prepared_as_the_projects_profile_says(pytester: pytest.Pytester) -> None:
    config = pytester.path / "config"
    config.mkdir()
    (config / "lab.yml").write_text("machines:\n  web-1: {}\n")
    (config / "host.yml").write_text("timezone: Europe/Berlin\n")
    pytester.makepyfile("def test_it(lab_spec): assert lab_spec.profile.timezone == 'Europe/Berlin'")
    assert "1 passed" in run(pytester)


def test_without_a_file_the_error_says_what_to_write(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(lab): pass\n")
    said = run(pytester)
    assert "lab.yml is missing" in said
    assert "override the fixture `lab_spec`" in said


@pytest.mark.parametrize("scope", ["week", "package"])
def test_an_unknown_scope_is_refused(pytester: pytest.Pytester, scope: str) -> None:
    pytester.makeini(f"[pytest]\nlab_scope = {scope}\n")
    pytester.makepyfile("def test_it(lab_spec): pass\n")
    assert f"{scope!r} is none of session, module" in run(pytester)


# A lab that is up as soon as its state is written, and down as soon as its files are gone.
QUICK = """
import pytest
from dataclasses import replace
from lab.lab import Lab
from lab.places import labs_dir
from lab.state import save_state
from tests.unit.lab.samples import SPEC, lab_state

@pytest.fixture(scope="session", autouse=True)
def without_machines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lab, "up", lambda self, spec: print("UP") or save_state(lab_state(labs_dir().parent)))
        patch.setattr("lab.lab.take_down", lambda *words, **named: print("DOWN") or ())
        yield

@pytest.fixture(scope="session")
def lab_spec(): return SPEC
"""


@pytest.mark.parametrize(("scope", "ups"), [("session", 1), ("module", 3)])
def test_tests_of_one_scope_share_a_lab(pytester: pytest.Pytester, scope: str, ups: int) -> None:
    """Each lab is down before the next is up."""
    pytester.makeini(f"[pytest]\nlab_scope = {scope}\n")
    pytester.makeconftest(QUICK)
    for name in ("one/test_a", "one/test_b", "two/test_c"):
        path = pytester.path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text("def test_first(lab): assert lab.exists\ndef test_second(lab): assert lab.exists\n")
    said = run(pytester, "-s")
    assert "6 passed" in said
    assert re.findall("UP|DOWN", said) == ["UP", "DOWN"] * ups
    assert not (labs_dir() / "shop").exists()


@pytest.mark.parametrize(("words", "stays"), [((), False), (("--lab-keep",), True)])
def test_a_lab_stays_where_the_next_run_wants_it(
    pytester: pytest.Pytester, words: tuple[str, ...], stays: bool
) -> None:
    pytester.makeconftest(QUICK)
    pytester.makepyfile("def test_it(lab): assert lab.exists\n")
    assert "1 passed" in run(pytester, *words)
    assert (labs_dir() / "shop").exists() == stays
    # One that was up before stays anyway.
    save_state(lab_state(labs_dir().parent))
    assert "1 passed" in run(pytester)
    assert (labs_dir() / "shop").exists()


def test_an_environment_that_uses_no_lab_does_not_pay_for_one() -> None:
    """The entry point is imported by every run of pytest, so it must not pull in the lab."""
    text = "import sys, lab.pytest_plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "lab.pytest_plugin" in loaded
    assert loaded & {"libvirt", "yaml", "click", "lab.lab", "freehold.errors"} == set()
