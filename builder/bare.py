"""The installer on trial: a machine with an empty disk, the medium in it, and the host that comes of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.assemble import run_tool
from builder.diskrule import DiskRule, parse_rule
from builder.installer import Installation, Live, write_installer
from builder.qemu import SERIAL, Machine, Medium, Mode
from builder.trial import (
    GROWN,
    NAME,
    Trial,
    access,
    check_machine,
    console_tail,
    kvm_works,
    own_variables,
    running,
)
from freehold.errors import BuildError
from freehold.files import new_private_dir
from freehold.process import Runner, Started

DONE = "INSTALLED:"
REFUSED = "NOT INSTALLED:"
LAST = "press Ctrl-Alt-Del to start again"
# Names the machine's first disk, as a careful operator would.
RULE = parse_rule(f"serial={SERIAL}")


@contextmanager
def prepared(
    live: Live,
    mode: Mode,
    how: Medium,
    *,
    runner: Runner,
    rule: DiskRule = RULE,
    disk_bytes: int = GROWN,
    spare: Path | None = None,
) -> Iterator[tuple[Machine, Path]]:
    """A machine with an empty disk and a medium of its own, and the directory where its files are."""
    check_machine(live.image.arch, mode)
    directory = new_private_dir(Path(tempfile.mkdtemp(prefix="freehold-bare-")))
    try:
        port, seed = access(directory)
        iso = directory / "installer.iso"
        write_installer(live, Installation(NAME, seed, rule), iso, runner=runner)
        disk = directory / "disk.qcow2"
        run_tool(runner, ("qemu-img", "create", "-q", "-f", "qcow2", disk, str(disk_bytes)))
        yield (
            Machine(
                arch=live.image.arch,
                mode=mode,
                disk=disk,
                seed=None,
                serial=directory / "serial.log",
                monitor=directory / "qmp",
                port=port,
                variables=own_variables(live.image.arch, mode, directory),
                kvm=kvm_works(live.image, runner),
                medium=iso,
                medium_as=how,
                spare=spare,
            ),
            directory,
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def installed(
    live: Live,
    mode: Mode,
    how: Medium,
    *,
    runner: Runner,
    evidence: Path | None = None,
    deadline: float = 2400,
) -> Iterator[Trial]:
    """Install, and yield the host that the machine becomes by itself, with the medium still in it."""
    with (
        prepared(live, mode, how, runner=runner) as (machine, directory),
        running(machine, directory, runner=runner, evidence=evidence, deadline=deadline) as trial,
    ):
        if DONE not in machine.serial.read_text(errors="replace"):
            raise BuildError("the host answers, and the installer never said that it was done")
        yield trial


def verdict(machine: Machine, process: Started, *, deadline: float = 1800) -> str:
    """The installer's last word on the serial console: the line with INSTALLED or NOT INSTALLED."""
    started = time.monotonic()
    while time.monotonic() - started < deadline:
        text = machine.serial.read_text(errors="replace") if machine.serial.exists() else ""
        said = [line.strip() for line in text.splitlines() if line.startswith((DONE, REFUSED))]
        # A refusal goes on with the list of disks.
        if said and (said[0].startswith(DONE) or LAST in text):
            return said[0]
        if process.poll() is not None:
            break
        time.sleep(1)
    raise BuildError("the installer came to no end", details=console_tail(machine.serial))
