"""Healing machines that are not there yet: real sockets, and a program in the place of ssh."""

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from freehold.console import Console
from freehold.errors import LabError
from freehold.process import LocalRunner
from lab.healing import heal_inside
from lab.lab import Lab
from lab.places import labs_dir
from lab.state import LabState, MachineState, save_state
from tests.unit.lab.samples import lab_state


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def shop() -> Lab:
    return Lab("shop", runner=LocalRunner(), console=Console(out=io.StringIO(), err=io.StringIO()))


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ssh does is a script's text, until a test writes another one."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


@contextmanager
def road(*greetings: bytes) -> Iterator[int]:
    """As QEMU's user-mode network, which accepts at once and closes while nothing listens behind."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        end = Event()

        def serve() -> None:
            number = 0
            while not end.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(greetings[min(number, len(greetings) - 1)])
                number += 1

        server = Thread(target=serve)
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            end.set()
            server.join()


def placed(**ports: int) -> LabState:
    state = lab_state(labs_dir().parent)
    machines = [
        replace(item, address="127.0.0.1", ssh_port=ports[item.name.replace("-", "_")])
        for item in state.machines
        if item.name.replace("-", "_") in ports
    ]
    state = replace(state, machines=tuple(machines))
    save_state(state)
    return state


def heal(shop: Lab, state: LabState, patience: float) -> list[str]:
    whole: list[str] = []

    def done(machine: MachineState) -> None:
        whole.append(machine.name)

    try:
        heal_inside(shop, state.machines, lambda _machine: "true", done=done, patience=patience)
    except LabError as exc:
        exc.add_note(" ".join(whole))
        raise
    return whole


def test_a_machine_that_boots_is_waited_for(shop: Lab, ssh: Path) -> None:
    with road(b"", b"", b"SSH-2.0-test\r\n") as port:
        assert heal(shop, placed(web_1=port), 60) == ["web-1"]


def test_a_machine_that_does_not_answer_is_named_and_the_others_are_whole(shop: Lab, ssh: Path) -> None:
    with road(b"") as silent, road(b"SSH-2.0-test\r\n") as port:
        state = placed(web_1=silent, web_2=port)
        with pytest.raises(LabError) as caught:
            heal(shop, state, 10)
    assert caught.value.message == "not whole again: web-1"
    assert caught.value.details == ("web-1: no SSH server answers",)
    assert caught.value.__notes__ == ["web-2"]


def test_users_that_systemd_turns_away_early_come_again(shop: Lab, ssh: Path) -> None:
    ssh.write_text(
        '#!/bin/sh\ntest -e "$0.again" && exit 0\ntouch "$0.again"\n'
        "echo 'System is booting up.' >&2\nexit 255\n"
    )
    with road(b"SSH-2.0-test\r\n") as port:
        assert heal(shop, placed(web_1=port), 60) == ["web-1"]


def test_a_repair_that_fails_is_told_at_once(shop: Lab, ssh: Path) -> None:
    ssh.write_text("#!/bin/sh\necho 'Failed to start docker.service' >&2\nexit 1\n")
    with road(b"SSH-2.0-test\r\n") as port, pytest.raises(LabError, match="not whole again") as caught:
        heal(shop, placed(web_1=port), 3600)
    assert caught.value.details == (
        "web-1: the repair ended with exit code 1",
        "  Failed to start docker.service",
    )
