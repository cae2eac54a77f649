"""The end of a lab: two at once, some that cannot come up, and what is left behind (nothing)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.spec import GiB
from freehold.console import Console
from freehold.errors import FreeholdError
from freehold.process import LocalRunner
from lab import sweep
from lab.address import FIRST, loopback_prefix
from lab.lab import Lab
from lab.model import LabSpec
from lab.places import lab_dir, list_labs
from lab.preflight import PREFIXES
from lab.state import runtime_of, taken_prefixes
from lab.wire import Wire
from tests.e2e.reach import reaches
from tests.e2e.trouble import BAD_SEED, NO_SEED, PANIC, Troubled


@pytest.mark.parametrize(
    ("kind", "cause", "tail"),
    [
        (PANIC, "the kernel panicked", "VFS: Unable to mount root fs"),
        (NO_SEED, "it does not have the SSH host key that its seed gave it", "[  OK  ] Started"),
        (BAD_SEED, "cloud-init failed", "('write_files', FileExistsError("),
    ],
)
def test_a_machine_that_cannot_come_up_says_why_and_leaves_nothing(
    lab: Lab, troubled: Troubled, kind: str, cause: str, tail: str
) -> None:
    code, said = troubled.ended(kind)
    assert f"error: web-1: {cause}" in said, said
    # Long before its deadline, with the console's last lines, and as an error that was expected.
    assert "not ready after" not in said
    assert any(tail in line for line in said.splitlines() if line.startswith("  | "))
    assert code == 1
    # It is left to be looked at; the other lab does not notice.
    its = Lab(kind, runner=LocalRunner(), console=Console())
    state = its.state
    assert state.prefix != lab.state.prefix
    assert "Linux version" in troubled.freehold(kind, "lab", "logs", "web-1", "--lab", kind)
    assert its.status()[0].state in (("paused", "crashed") if kind == PANIC else ("running",))
    assert [item.state for item in lab.status()] == ["running"] * 3
    assert sweep.processes([state.directory, state.runtime]) != ()
    if kind == BAD_SEED:
        # All but a file that it could not write is as it should be.
        beside(lab, its)
    troubled.freehold(kind, "lab", "down", "--lab", kind)
    assert kind not in list_labs()
    assert sweep.processes([state.directory, state.runtime]) == ()
    assert not state.directory.exists()
    assert not state.runtime.exists()
    assert "nothing is left over" in troubled.freehold(kind, "lab", "gc", "--dry-run")
    assert own_key(lab) in seen_key(lab)


def beside(lab: Lab, other: Lab) -> None:
    """Two labs at once: a machine of each has the same name, and the same address on a wire of its own."""
    here, there = lab.state.machine("web-1"), other.state.machine("web-1")
    assert (here.name, here.lan) == (there.name, there.lan)
    assert here.address != there.address
    ids = [one.exec("web-1", ["cat", "/etc/machine-id"]).stdout for one in (lab, other)]
    assert ids[0] != ids[1]
    # Who has that address is told by its key, and the other wire has no second machine.
    assert own_key(lab) != own_key(other)
    assert own_key(lab) in seen_key(lab)
    assert reaches(lab, "web-1", lab.state.machine("web-2").lan)
    assert not reaches(other, "web-1", lab.state.machine("web-2").lan, limit=6)


def own_key(lab: Lab) -> str:
    """The host key of web-1, as its seed gave it."""
    machine = lab.state.machine("web-1")
    return Path(f"{lab.state.folder(machine)}/host_key.pub").read_text().split()[1]


def seen_key(lab: Lab) -> str:
    """What web-2 sees at the address of web-1 on their own network."""
    look = ["ssh-keyscan", "-T", "60", "-t", "ed25519", lab.state.machine("web-1").lan]
    return lab.exec("web-2", look).stdout


@contextmanager
def no_room(spec: LabSpec) -> Iterator[LabSpec]:
    """More memory than any computer of a developer has."""
    yield replace(spec, machines=(replace(spec.machines[0], memory=4096 * GiB),))


@contextmanager
def taken_address(spec: LabSpec) -> Iterator[LabSpec]:
    """Other programs listen wherever the machine could answer."""
    taken = set(taken_prefixes(spec.name))
    with ExitStack() as servers:
        for _ in range(PREFIXES):
            prefix = loopback_prefix(spec.name, taken)
            servers.enter_context(socket.create_server((f"{prefix}.{FIRST}", spec.ports.http)))
            taken.add(prefix)
        yield spec


@contextmanager
def full_disk(spec: LabSpec) -> Iterator[LabSpec]:
    """The disk under the lab's files has less room than a first boot writes."""
    place = lab_dir(spec.name)
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True)
    try:
        yield spec
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def lost_image(spec: LabSpec) -> Iterator[LabSpec]:
    """The image that it should run is none."""
    with TemporaryDirectory() as empty:
        yield replace(spec, image=Path(empty))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (no_room, "web-1 needs .* MiB of memory"),
        (taken_address, "8080 is in use by another program"),
        (full_disk, "web-1 needs .* MiB of disk"),
        (lost_image, "is not a golden image"),
    ],
)
def test_what_cannot_come_up_says_why_at_once_and_leaves_nothing(
    lab: Lab,
    lab_spec: LabSpec,
    trouble: Callable[[LabSpec], AbstractContextManager[LabSpec]],
    said: str,
) -> None:
    if trouble is full_disk and os.geteuid() != 0:
        # Everything else here is also for ordinary users, whose `make test` must not fail for this one.
        pytest.skip("mounting a small disk needs root")
    refused = Lab("refused", runner=LocalRunner(), console=Console())
    plain = replace(lab_spec, name="refused", machines=lab_spec.machines[:1], image=lab.state.image)
    with trouble(plain) as spec:
        with pytest.raises(FreeholdError, match=said) as caught:
            refused.up(spec)
        assert caught.value.exit_code in (1, 2)
        runtime = runtime_of("refused")
        # A directory that is a mount stays; all else is gone by itself.
        assert sweep.processes([lab_dir("refused"), runtime]) == ()
        assert trouble is full_disk or "refused" not in list_labs()
    refused.down()
    assert "refused" not in list_labs()
    assert not runtime.exists()
    assert [item.state for item in lab.status()] == ["running"] * 3


def test_down_leaves_nothing(lab: Lab) -> None:
    state = lab.state
    ports = [(machine.address, machine.ssh_port) for machine in state.machines]
    switch = Wire(state.runtime).pid
    assert switch is not None
    lab.down()
    assert lab.name not in list_labs()
    assert sweep.processes([state.directory, state.runtime]) == ()
    assert not Path(f"/proc/{switch}/cmdline").exists() or not Path(f"/proc/{switch}/cmdline").read_bytes()
    assert not state.directory.exists()
    assert not state.runtime.exists()
    for address in ports:
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(address)
    lab.down()
