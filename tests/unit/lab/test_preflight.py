"""What is found out before anything starts; and what is left is found by real processes."""

import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.errors import LabError
from lab import sweep
from lab.address import loopback_prefix
from lab.preflight import PREFIXES, available_memory, check_memory, check_ports, check_space, free_prefix
from tests.unit.lab.programs import running
from tests.unit.lab.samples import SPEC, lab_state


def test_memory_is_read_from_meminfo() -> None:
    assert available_memory("MemTotal: 9 kB\nMemAvailable:     2048 kB\n") == 2048 * 1024


def test_more_memory_than_there_is_is_refused() -> None:
    machine = replace(lab_state().machines[0], memory=1 << 60)
    with pytest.raises(LabError, match=r"web-1 needs .* MiB are free") as caught:
        check_memory([machine])
    with pytest.raises(LabError, match="2 machines need"):
        check_memory([machine, machine])
    assert "memory:" in caught.value.hint
    check_memory([])


def test_a_full_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = lab_state().machines
    check_space([], tmp_path)
    monkeypatch.setattr("lab.preflight.FIRST_BOOT", 1 << 60)
    with pytest.raises(LabError, match=f"of disk in {tmp_path}") as caught:
        check_space(machines, tmp_path)
    assert "FREEHOLD_STATE" in caught.value.hint


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        machine = replace(lab_state().machines[0], address="127.0.0.1", ssh_port=port)
        with pytest.raises(LabError, match=f"web-1: 127.0.0.1:{port} is in use"):
            check_ports([machine])


def test_a_namesake_that_is_up_leaves_a_new_lab_another_prefix() -> None:
    # A name of its own: a lab of that of the samples may be up on this computer.
    spec = replace(SPEC, name=f"shop-{os.getpid()}")
    first = free_prefix(spec, ())
    with socket.create_server((f"{first}.12", spec.ports.https)):
        second = free_prefix(spec, ())
        assert second == loopback_prefix(spec.name, {first})
    assert free_prefix(spec, ()) == first
    taken: set[str] = set()
    with ExitStack() as servers:
        for _ in range(PREFIXES):
            prefix = loopback_prefix(spec.name, taken)
            servers.enter_context(socket.create_server((f"{prefix}.11", spec.ports.ssh)))
            taken.add(prefix)
        assert free_prefix(spec, ()) == first


def test_a_process_is_found_by_the_lab_on_its_command_line_and_ended(tmp_path: Path) -> None:
    own, other = tmp_path / "lab", tmp_path / "lab2"
    program = "import time; time.sleep(600)"
    words = [sys.executable, "-c", program, "lab.switchd"]
    with running([*words, f"{own}/lan"]) as mine, running([*words, f"{other}/lan"]) as foreign:
        found = sweep.processes([own])
        assert [process.pid for process in found] == [mine.pid]
        assert sweep.finish(found) == ()
        assert mine.wait(5) != 0
        assert foreign.poll() is None


def test_an_editor_on_the_labs_files_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.touch()
    with running(["tail", "-f", log]):
        assert sweep.processes([tmp_path]) == ()
