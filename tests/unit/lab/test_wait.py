"""Waiting: against a real socket and real console files; every end of it names the cause."""

import socket
import threading
import time
from pathlib import Path
from threading import Event

import pytest

from freehold.errors import DeadlineError, LabError
from freehold.process import LocalRunner
from lab.state import LabState, MachineState
from lab.wait import banner, cloud_init_errors, console_tail, fatal, stage, wait_ready
from tests.unit.lab.samples import lab_state


@pytest.fixture
def machine(tmp_path: Path) -> tuple[LabState, MachineState]:
    state = lab_state(tmp_path)
    found = state.machines[0]
    state.folder(found).mkdir(parents=True)
    return state, found


def wait(
    machine: tuple[LabState, MachineState],
    *,
    seconds: float = 5.0,
    alive: str = "running",
    stop: Event | None = None,
) -> None:
    state, found = machine
    told: list[str] = []
    wait_ready(
        state,
        found,
        deadline=time.monotonic() + seconds,
        runner=LocalRunner(),
        alive=lambda: alive,
        tell=told.append,
        stop=stop or Event(),
    )


def test_a_panic_ends_the_wait_with_the_consoles_lines(machine: tuple[LabState, MachineState]) -> None:
    state, found = machine
    state.console(found).write_text("Linux version 6\nKernel panic - not syncing: VFS: no root\n")
    with pytest.raises(LabError, match="web-1: the kernel panicked") as caught:
        wait(machine)
    assert "VFS: no root" in "\n".join(caught.value.details)
    assert "lab logs web-1" in caught.value.hint


def test_a_machine_that_is_off_ends_the_wait(machine: tuple[LabState, MachineState]) -> None:
    with pytest.raises(LabError, match="web-1: the machine is off"):
        wait(machine, alive="off")


def test_the_deadline_names_how_far_it_came(machine: tuple[LabState, MachineState]) -> None:
    state, found = machine
    state.console(found).write_text("[    0.000000] Linux version 6.1\n")
    with pytest.raises(DeadlineError, match=r"no SSH server answers \(last seen: kernel\)"):
        wait(machine, seconds=0.1)


def test_another_machines_failure_ends_the_wait(machine: tuple[LabState, MachineState]) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(LabError, match="given up"):
        wait(machine, stop=stop)


def serve(data: bytes) -> tuple[socket.socket, int]:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(data)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return server, server.getsockname()[1]


@pytest.mark.parametrize(
    ("said", "heard"),
    [(b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2"), (b"HTTP/1.1 400\r\n", ""), (b"", "")],
)
def test_only_an_ssh_server_counts(said: bytes, heard: str) -> None:
    server, port = serve(said)
    with server:
        assert banner("127.0.0.1", port, 2.0) == heard


def test_the_tail_has_no_escapes_and_starts_where_told(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"old\r\n\x1b[0;32m  OK  \x1b[0m Started\x1b[K\r\n\r\nlogin: ")
    assert console_tail(log) == ("old", "  OK   Started", "login:")
    assert console_tail(log, since=5) == ("  OK   Started", "login:")
    assert console_tail(Path("/nonexistent")) == ()


def test_a_stage_never_goes_back() -> None:
    assert stage(("Linux version 6",)) == "kernel"
    assert stage(("something else",), "cloud-init") == "cloud-init"
    assert stage(("web-1 login:",), "kernel") == "booted"


def test_an_ordinary_console_is_not_fatal() -> None:
    assert fatal(("[  OK  ] Reached target", "login:")) == ""


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ('{"v1": {"datasource": "NoCloud", "errors": []}}', ()),
        ('{"v1": {"errors": ["(\'users_groups\', KeyError())"]}}', ("('users_groups', KeyError())",)),
    ],
)
def test_cloud_inits_own_verdict(text: str, errors: tuple[str, ...]) -> None:
    assert cloud_init_errors(text) == errors


def test_an_unreadable_verdict_is_a_failure() -> None:
    assert len(cloud_init_errors("")) == 1
