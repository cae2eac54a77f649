"""The lab for real: two machines under QEMU, from `up` to a `down` that leaves nothing.

One lab serves all tests of this module, in the order in which they stand: booting emulated machines
takes a minute or two.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.image import build_image
from builder.spec import ImageSpec
from freehold.console import Console
from freehold.errors import LabError, LockedError
from freehold.paths import cache_dir
from freehold.process import LocalRunner, which
from lab import sweep
from lab.faults import Faults
from lab.lab import Lab
from lab.model import LabSpec, MachineSpec
from lab.moments import Moments
from lab.state import list_labs, locked
from lab.wire import Wire

PROGRAMS = ("qemu-system-x86_64", "qemu-img", "libvirtd", "ssh", "unshare")
SPEC = LabSpec(
    "labtest",
    (
        MachineSpec("web-1", host="web-1.example.com", roles=("web",)),
        MachineSpec("web-2", host="203.0.113.7", roles=("web",)),
    ),
    suite="bookworm",
    deadline=900,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab, up; its state and sockets in directories of its own, its image from the shared cache."""
    lacking = [program for program in PROGRAMS if which(program) is None]
    if lacking:
        text = f"no machines here: {', '.join(lacking)} not installed"
        if "e2e" in os.environ.get("FREEHOLD_REQUIRE", "").split(","):
            pytest.fail(text)
        pytest.skip(text)
    place = tmp_path_factory.mktemp("lab")
    # pytest's own directories are too deep for Unix sockets.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="fh") as short:
        runtime = Path(short)
        patch.setenv("FREEHOLD_CACHE", str(cache_dir()))
        patch.setenv("FREEHOLD_STATE", str(place))
        patch.setenv("FREEHOLD_RUNTIME", str(runtime))
        made = Lab(SPEC.name, runner=LocalRunner(), console=Console())
        try:
            made.up(SPEC)
            yield made
        finally:
            made.down()
            runtime.mkdir(exist_ok=True)
        assert [path for root in (place, runtime) for path in root.rglob("*") if path.is_file()] == []


def ssh(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", config, *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_every_machine_is_ready_under_both_its_names(lab: Lab) -> None:
    for name in ("web-1", "web-1.example.com", "web-2", "203.0.113.7"):
        done = ssh(lab.state.ssh_config, name, "hostname")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == lab.state.machine(name).name


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    before = lab.state
    boots = [lab.exec(name, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout for name in ("web-1", "web-2")]
    assert lab.up(SPEC) == before
    after = [lab.exec(name, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout for name in ("web-1", "web-2")]
    assert after == boots


def test_a_host_key_that_is_not_the_seeds_is_refused(lab: Lab, tmp_path: Path) -> None:
    state = lab.state
    wrong = state.known_hosts.read_text().splitlines()
    keys = [line.split(" ", 1)[1] for line in wrong]
    swapped = tmp_path / "known_hosts"
    swapped.write_text(
        "".join(f"{line.split(' ', 1)[0]} {key}\n" for line, key in zip(wrong, reversed(keys), strict=True))
    )
    config = tmp_path / "config"
    config.write_text(state.ssh_config.read_text().replace(str(state.known_hosts), str(swapped)))
    done = ssh(config, "web-1", "true")
    assert done.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in done.stderr or "verification failed" in done.stderr


def fetch(lab: Lab, machine: str, url: str) -> str:
    command = ["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code} %{remote_ip}", url]
    return lab.exec(machine, command, check=False).stdout


def test_machines_reach_each_other_by_name_and_by_production_address(lab: Lab) -> None:
    assert fetch(lab, "web-1", "http://web-2/").endswith(" 198.18.0.12")
    assert fetch(lab, "web-1", "http://203.0.113.7/").endswith(" 203.0.113.7")
    assert fetch(lab, "web-2", "http://web-1.example.com/").endswith(" 198.18.0.11")


def test_machines_have_no_way_out(lab: Lab) -> None:
    done = lab.exec("web-1", ["bash", "-c", "exec 3<>/dev/tcp/198.51.100.1/80"], check=False, timeout=60)
    assert "unreachable" in done.stderr


def test_this_computer_reaches_a_machines_proxy(lab: Lab) -> None:
    machine = lab.state.machine("web-1")
    with socket.create_connection((machine.address, machine.http_port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(12).startswith(b"HTTP/1.")


def test_the_status_shows_both_running(lab: Lab) -> None:
    found = lab.status()
    assert [(item.state, item.boot) for item in found] == [("running", "SSH answers")] * 2
    assert all(item.memory > 100_000_000 and item.disk > 0 for item in found)


def test_a_snapshot_brings_memory_and_disk_back(lab: Lab) -> None:
    moments = Moments(lab)
    lab.exec("web-1", ["bash", "-c", "echo before > ~/file; echo before > /dev/shm/memory"])
    boot = lab.exec("web-1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    moments.take("test")
    lab.exec("web-1", ["bash", "-c", "echo after > ~/file; echo after > /dev/shm/memory"])
    assert moments.restore() == "test"
    assert lab.exec("web-1", ["bash", "-c", "cat ~/file /dev/shm/memory"]).stdout == "before\nbefore\n"
    assert lab.exec("web-1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout == boot
    moments.forget("test")
    assert moments.names() == ()
    with pytest.raises(LabError, match="has no snapshot"):
        moments.restore()


def test_the_wire_between_machines_works_after_a_restore(lab: Lab) -> None:
    assert fetch(lab, "web-2", "http://web-1/").endswith(" 198.18.0.11")


def test_a_cut_wire_keeps_machines_apart_until_it_is_healed(lab: Lab) -> None:
    faults = Faults(lab)
    faults.cut("web-2", management=False)
    assert fetch(lab, "web-1", "http://web-2/").startswith("000")
    assert lab.exec("web-2", ["true"]).returncode == 0
    faults.heal()
    assert fetch(lab, "web-1", "http://web-2/").endswith(" 198.18.0.12")


def test_a_machine_that_is_cut_off_does_not_answer_this_computer(lab: Lab) -> None:
    faults, machine = Faults(lab), lab.state.machine("web-2")
    faults.cut("web-2", lan=False)
    assert not lab.answers(machine, timeout=5)
    faults.heal()
    assert lab.exec("web-2", ["true"], timeout=60).returncode == 0


def test_a_full_disk_and_a_stopped_docker_are_healed(lab: Lab) -> None:
    faults = Faults(lab)
    write = ["dd", "if=/dev/zero", "of=big", "bs=1M", "count=8"]
    faults.fill_disk("web-1")
    assert lab.exec("web-1", write, check=False).returncode != 0
    faults.stop_docker("web-1")
    assert lab.exec("web-1", ["docker", "ps"], check=False).returncode != 0
    faults.heal()
    lab.exec("web-1", write)
    lab.exec("web-1", ["docker", "ps"])


def test_another_command_cannot_change_the_lab_meanwhile(lab: Lab) -> None:
    with locked(lab.name), pytest.raises(LockedError):
        lab.stop()


def test_down_leaves_nothing(lab: Lab) -> None:
    state = lab.state
    ports = [(machine.address, machine.ssh_port) for machine in state.machines]
    switch = Wire(state.runtime).pid
    assert switch is not None
    lab.down()
    assert list_labs() == ()
    assert sweep.processes([state.directory, state.runtime]) == ()
    assert not Path(f"/proc/{switch}/cmdline").exists() or not Path(f"/proc/{switch}/cmdline").read_bytes()
    assert not state.directory.exists()
    assert not state.runtime.exists()
    for address in ports:
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(address)
    lab.down()


def test_a_machine_that_never_boots_says_why_and_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    good = build_image(ImageSpec(suite="bookworm"), runner=LocalRunner(), console=Console())
    bad = tmp_path / "image"
    bad.mkdir()
    for path in good.directory.iterdir():
        (bad / path.name).symlink_to(path)
    (bad / "manifest.json").unlink()
    text = good.manifest.read_text().replace(
        "root=UUID=", "panic=0 rdinit=/nonexistent init=/none root=UUID=ff"
    )
    (bad / "manifest.json").write_text(text)
    spec = replace(SPEC, name="broken", machines=SPEC.machines[:1], image=bad, deadline=300)
    broken = Lab("broken", runner=LocalRunner(), console=Console())
    try:
        with pytest.raises(LabError, match="web-1: the kernel panicked") as caught:
            broken.up(spec)
        assert caught.value.details
    finally:
        broken.down()
    assert list_labs() == ()
