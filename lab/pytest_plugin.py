"""The lab for pytest: `pip install` is enough, an entry point loads this module.

def test_a_page_is_served(lab_hosts, lab_faults):
    lab_faults.cut("db-1")
    assert lab_hosts["web-1"].run("curl -fs localhost").rc == 0

Fixtures: `lab` (a `lab.lab.Lab` that is up), `lab_hosts` (its machines as testinfra hosts by name),
`lab_faults` (healed after the test), `lab_clean` (memory and disks as they were first), `lab_spec` and
`lab_home` to be overridden. A failed test shows the machines' consoles and journals.

Every run of pytest in an environment with Freehold imports this module, so it imports nothing of the
lab until a test asks for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from lab.faults import Faults
    from lab.lab import Lab
    from lab.model import LabSpec

SNAPSHOT = "pytest"
CONSOLE_LINES = 40
JOURNAL_LINES = 60
# A machine that is cut off must not hold the report back; one on a busy computer has to be heard.
JOURNAL_DEADLINE = 60.0
# Seconds that the question may take to reach the machine.
LATE = 30

BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lab-keep`, and which tests share a lab."""
    group = parser.getgroup("lab", "labs of virtual machines (Freehold)")
    group.addoption("--lab-keep", action="store_true", help="Leave the lab up for the next run.")
    parser.addini(
        "lab_scope",
        "Which tests share a lab: session or module.",
        default="session",
    )


def _scope(fixture_name: str, config: pytest.Config) -> Literal["session", "module"]:
    """The scope of everything that is a lab, from `lab_scope` in pytest's configuration.

    `package` is none: pytest keeps such a fixture of a plugin for the whole session.
    """
    match config.getini("lab_scope"):
        case "session":
            return "session"
        case "module":
            return "module"
        case other:
            raise pytest.UsageError(f"lab_scope: {other!r} is none of session, module")


@pytest.fixture(scope=_scope)
def lab_home() -> None:
    """Where labs are kept: this user's own place. Override it to set `FREEHOLD_STATE` and the like."""


@pytest.fixture(scope=_scope)
def lab_spec(pytestconfig: pytest.Config) -> LabSpec:
    """Which lab: the machines of `config/lab.yml`, prepared as `config/host.yml` says.

    Override it for another, or to mirror a deploy file.
    """
    from cloudinit.profile import load_profile
    from freehold.errors import UsageError
    from lab.labfile import load_lab_file
    from lab.mirror import default_name, from_file

    config = pytestconfig.rootpath / "config"
    path, host = config / "lab.yml", config / "host.yml"
    if not path.is_file():
        raise UsageError(
            f"{path} is missing, so nothing says which machines the lab has",
            hint="write it, or override the fixture `lab_spec`",
        )
    return from_file(
        load_lab_file(path, name="config/lab.yml"),
        default_name(pytestconfig.rootpath),
        profile=load_profile(host, name="config/host.yml") if host.is_file() else None,
    )


@pytest.fixture(scope=_scope)
def lab(lab_home: None, lab_spec: LabSpec, pytestconfig: pytest.Config) -> Iterator[Lab]:
    """The lab, up. One that was up before the run, or that `--lab-keep` is for, stays afterwards."""
    from freehold.console import Console
    from freehold.errors import FreeholdError
    from freehold.process import LocalRunner
    from lab.lab import Lab

    made = Lab(lab_spec.name, runner=LocalRunner(), console=Console())
    stays = made.exists or pytestconfig.getoption("lab_keep")
    try:
        try:
            made.up(lab_spec)
        except FreeholdError as exc:
            # pytest prints an exception's notes: here the console's last lines.
            for line in exc.details:
                exc.add_note(line)
            raise
        yield made
    finally:
        if not stays:
            made.down()


@pytest.fixture(scope=_scope)
def lab_hosts(lab: Lab) -> Mapping[str, Any]:
    """Each machine as a testinfra host, under its own name and its name in the deploy file."""
    import testinfra

    state = lab.state
    return {
        name: testinfra.get_host(f"ssh://{machine.name}", ssh_config=str(state.ssh_config))
        for machine in state.machines
        for name in (machine.name, machine.host)
    }


@pytest.fixture
def lab_faults(lab: Lab) -> Iterator[Faults]:
    """The lab's faults; all of them are healed after the test."""
    from lab.faults import Faults

    with Faults(lab) as faults:
        yield faults


@pytest.fixture(scope=_scope)
def lab_snapshot(lab: Lab) -> Iterator[str]:
    """A snapshot with memory of all machines, taken when the first test asks for it."""
    from lab.moments import Moments

    moments = Moments(lab)
    moments.take(SNAPSHOT)
    yield SNAPSHOT
    # A test may have taken the lab down.
    if lab.exists and SNAPSHOT in moments.names():
        moments.forget(SNAPSHOT)


@pytest.fixture
def lab_clean(lab: Lab, lab_snapshot: str) -> Lab:
    """The lab with memory and disks as in `lab_snapshot`, whatever earlier tests did."""
    from lab.moments import Moments

    Moments(lab).restore(lab_snapshot)
    return lab


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember when the test began: its journals start there."""
    if "lab" in getattr(item, "fixturenames", ()):
        item.stash[BEGAN] = time.time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test of a lab shows what its machines said on their consoles and in their journals."""
    report = yield
    found = getattr(item, "funcargs", {}).get("lab")
    if found is not None and report.failed and report.when in ("setup", "call"):
        report.sections += evidence(found, item.stash.get(BEGAN, 0.0))
    return report


def evidence(lab: Lab, since: float) -> list[tuple[str, str]]:
    """(title, text) for each machine: its console's last lines, its journal since a moment (epoch)."""
    from freehold.errors import FreeholdError

    try:
        state = lab.state
    except (FreeholdError, OSError) as exc:
        return [(f"lab {lab.name}", str(exc))]
    return [
        section
        for machine in state.machines
        for section in (
            (f"{machine.name}: console", _told(partial(_console, lab, machine.name))),
            (f"{machine.name}: journal", _told(partial(_journal, lab, machine.name, since))),
        )
    ]


def _told(look: Callable[[], str]) -> str:
    """What was found, or why nothing was: pytest itself ends where a report raises."""
    from freehold.errors import FreeholdError

    try:
        return look() or "nothing"
    except FreeholdError as exc:
        return exc.message
    except OSError as exc:
        return str(exc)


def _console(lab: Lab, machine: str) -> str:
    from lab.wait import console_tail

    return "\n".join(console_tail(lab.console_log(machine), CONSOLE_LINES))


def _journal(lab: Lab, machine: str, since: float) -> str:
    if not lab.answers(lab.state.machine(machine)):
        return "no SSH server answers"
    # By the machine's own clock, which may be behind: by a test's fault, or as it was just restored. And with
    # all that was said up to now, which the journal may not have taken in.
    ago = round(time.time() - since) + LATE
    read = f"journalctl --no-pager -q -n {JOURNAL_LINES}"
    script = f'journalctl --sync; {read} --since "@$(($(date +%s) - {ago}))"'
    done = lab.exec(machine, ["sudo", "sh", "-c", script], timeout=JOURNAL_DEADLINE, check=False)
    return done.stdout or done.stderr
