"""Waiting: against a real socket and real console files; every end of it names the cause."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from freehold.errors import DeadlineError, LabError, ProgramMissing
from freehold.process import LocalRunner
from lab.state import LabState, MachineState
from lab.wait import (
    CLOUD_INIT_DONE,
    RESULT,
    banner,
    cloud_init_errors,
    console_tail,
    fatal,
    stage,
    wait_ready,
)
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
            # A client that says nothing would never hear a server behind an older passt.
            if connection.recv(255).startswith(b"SSH-2.0-"):
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


def test_a_machine_is_ready_when_its_profiles_commands_have_ended(tmp_path: Path) -> None:
    result, asked = tmp_path / "result.json", tmp_path / "asked"
    result.write_text("{}\n")
    program = f"""
systemctl() {{
    echo "$@" >>{asked}
    [ "$(wc -l <{asked})" -gt 2 ] || echo "123 freehold-commands.service start waiting"
}}
{CLOUD_INIT_DONE.replace(RESULT, str(result))}"""
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "{}\n"
    assert asked.read_text() == "list-jobs --no-legend freehold-commands.service\n" * 3


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


def test_what_a_getty_tells_its_terminal_is_no_text(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"\x1b[!p\x1b]104\x07\x1b[?7h\x1b(B\r\nDebian\x1b]0;title\x1b\\ web-1\r\n")
    assert console_tail(log) == ("Debian web-1",)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ('{"v1": {"datasource": "NoCloud", "errors": []}}', ()),
        ('{"v1": {"errors": ["(\'users_groups\', KeyError())"]}}', ("('users_groups', KeyError())",)),
        ('{"v1": {"errors": ["one", "one", "other", "one"]}}', ("one", "other")),
    ],
)
def test_cloud_inits_own_verdict(text: str, errors: tuple[str, ...]) -> None:
    assert cloud_init_errors(text) == errors


def test_an_unreadable_verdict_is_a_failure() -> None:
    assert len(cloud_init_errors("")) == 1


class Answering:
    """A machine whose SSH server says its banner, with an `ssh` that does as `script` says."""

    def __init__(self, script: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = place / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def wait(
        self,
        machine: tuple[LabState, MachineState],
        alive: Callable[[], str] = lambda: "running",
        stop: Event | None = None,
    ) -> None:
        state, found = machine
        server, port = serve(b"SSH-2.0-OpenSSH_9.2\r\n")
        with server:
            wait_ready(
                state,
                replace(found, address="127.0.0.1", ssh_port=port),
                deadline=time.monotonic() + 30,
                runner=LocalRunner(),
                alive=alive,
                tell=lambda _text: None,
                stop=stop or Event(),
            )


def test_a_machine_that_stops_while_cloud_init_works_ends_the_wait(
    machine: tuple[LabState, MachineState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["running", "running", "off"])
    with pytest.raises(LabError, match="web-1: the machine is off"):
        Answering("exec sleep 60", tmp_path, monkeypatch).wait(machine, lambda: next(states))


def test_a_panic_while_cloud_init_works_ends_the_wait(
    machine: tuple[LabState, MachineState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, found = machine
    script = f"echo 'Kernel panic - not syncing: x' >'{state.console(found)}'; exec sleep 60"
    with pytest.raises(LabError, match="web-1: the kernel panicked"):
        Answering(script, tmp_path, monkeypatch).wait(machine)


def test_another_machines_failure_ends_the_wait_for_cloud_init(
    machine: tuple[LabState, MachineState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Event()

    def alive() -> str:
        stop.set()
        return "running"

    with pytest.raises(LabError, match="given up"):
        Answering("exec sleep 60", tmp_path, monkeypatch).wait(machine, alive, stop)


def test_a_connection_that_breaks_is_made_again(
    machine: tuple[LabState, MachineState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    script = f"""test -e '{again}' && echo '{{"v1": {{"errors": []}}}}' && exit; touch '{again}'; exit 255"""
    Answering(script, tmp_path, monkeypatch).wait(machine)


def test_without_an_ssh_client_there_is_nothing_to_wait_for(
    machine: tuple[LabState, MachineState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.wait.ssh_command", lambda *_words, **_more: ("no-such-program",))
    with pytest.raises(ProgramMissing, match="no-such-program"):
        Answering("", tmp_path, monkeypatch).wait(machine)
