"""The private libvirt daemon: started, talked to, ended, with nothing of it left."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from freehold.environment import which
from freehold.errors import LabError, UsageError
from freehold.process import LocalRunner
from lab import daemon
from lab.virt import ABSENT, Virt, answers
from tests.conftest import cannot_run


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("qemu+ssh://root@big.example.com/session", "on another computer"),
        ("qemu+tls://big.example.com/system", "on another computer"),
        ("qemu://big.example.com/system", "on another computer"),
        ("qemu+ssh:///system", "on another computer"),
        ("xen:///system", "no libvirt that runs a lab"),
        ("qemu:///nothing", "no libvirt that runs a lab"),
        ("system", "no libvirt that runs a lab"),
    ],
)
def test_a_libvirt_that_cannot_run_a_lab_is_refused(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        daemon.find(Path("/run"), uri=uri, environ={})
    assert caught.value.hint


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu:///session", "qemu+unix:///session?socket=/run/s"])
def test_a_libvirt_of_this_computer_is_taken_as_it_is(uri: str) -> None:
    assert daemon.find(Path("/run"), uri=uri, environ={}) == daemon.Connection(uri, False)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    if not any(which(name) for name in daemon.PROGRAMS):
        cannot_run("unit", "no libvirt daemon is installed")
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path))
    with TemporaryDirectory(prefix="fh") as folder:
        path = Path(folder) / "lab"
        yield path
        daemon.end(path)


def test_it_starts_answers_and_ends_without_a_trace(runtime: Path) -> None:
    uri = f"qemu+unix:///session?socket={daemon._socket(runtime)}"
    daemon.ensure(runtime, LocalRunner())
    pid = daemon.running_pid(runtime)
    assert pid is not None
    with Virt(uri) as virt:
        assert virt.owned() == ()
        assert virt.qemu_version > (7, 0, 0)
        assert virt.state("0d8f5f5e-1d3c-5b0a-9d52-5f6d5b1c2e3f") == ABSENT
    daemon.ensure(runtime, LocalRunner())
    assert daemon.running_pid(runtime) == pid
    daemon.end(runtime)
    assert daemon.running_pid(runtime) is None
    assert not answers(uri)
    assert list(runtime.iterdir()) == []


def test_a_pid_that_is_another_program_is_not_taken(runtime: Path) -> None:
    path = daemon._pid_file(runtime)
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    assert daemon.running_pid(runtime) is None


def test_a_runtime_directory_that_is_too_deep_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    with pytest.raises(LabError, match="too long") as caught:
        daemon.ensure(deep, LocalRunner())
    assert "FREEHOLD_RUNTIME" in caught.value.hint


def test_a_libvirt_that_does_not_answer_is_an_error_of_ours() -> None:
    with pytest.raises(LabError, match="does not answer") as caught:
        Virt("qemu+unix:///session?socket=/nonexistent/sock")
    assert "no libvirt daemon answers" in caught.value.hint
