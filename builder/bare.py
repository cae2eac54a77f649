"""The installer on trial: a machine with an empty disk, the medium in it, and the host that comes of it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from builder.assemble import run_tool
from builder.bootserver import BootServer
from builder.diskrule import DiskRule, parse_rule
from builder.installer import Installation, Live, write_installer
from builder.netboot import MEMORY, SCRIPT, NetHost, write_netboot
from builder.qemu import SERIAL, SERVER, Machine, Medium, Mode
from builder.trial import (
    GROWN,
    NAME,
    Trial,
    access,
    check_machine,
    kvm_works,
    own_variables,
    running,
)
from builder.watch import DONE
from freehold.errors import BuildError
from freehold.files import new_private_dir
from freehold.process import Runner

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
    ssh_port: int = 22,
) -> Iterator[tuple[Machine, Path]]:
    """A machine with an empty disk and a medium of its own, and the directory where its files are."""
    check_machine(live.image.arch, mode)
    directory = new_private_dir(Path(tempfile.mkdtemp(prefix="freehold-bare-")))
    try:
        port, seed = access(directory)
        installation = Installation(NAME, seed, rule)
        disk = directory / "disk.qcow2"
        run_tool(runner, ("qemu-img", "create", "-q", "-f", "qcow2", disk, str(disk_bytes)))
        machine = Machine(
            arch=live.image.arch,
            mode=mode,
            disk=disk,
            seed=None,
            serial=directory / "serial.log",
            monitor=directory / "qmp",
            port=port,
            variables=own_variables(live.image.arch, mode, directory),
            kvm=kvm_works(live.image.arch, live.image.kernel, runner),
            medium_as=how,
            spare=spare,
            ssh_port=ssh_port,
        )
        if how == "net":
            files = write_netboot(live, [NetHost(installation)], directory / "netboot")
            with serving(files) as served:
                url = f"http://{SERVER}/{SCRIPT}"
                yield replace(machine, boot_file=url, served=served, memory=MEMORY), directory
        else:
            iso = directory / "installer.iso"
            write_installer(live, installation, iso, runner=runner)
            yield replace(machine, medium=iso), directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def serving(files: dict[str, Path]) -> Iterator[int]:
    """The boot server on a port of 127.0.0.1 while the block lasts."""
    with BootServer("127.0.0.1", 0, files, lambda line: None) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def installed(
    live: Live,
    mode: Mode,
    how: Medium,
    *,
    runner: Runner,
    evidence: Path | None = None,
    deadline: float = 2400,
    rule: DiskRule = RULE,
    disk_bytes: int = GROWN,
    spare: Path | None = None,
    ssh_port: int = 22,
) -> Iterator[Trial]:
    """Install, and yield the host that the machine becomes by itself, with the medium still in it."""
    place = prepared(
        live, mode, how, runner=runner, rule=rule, disk_bytes=disk_bytes, spare=spare, ssh_port=ssh_port
    )
    with (
        place as (machine, directory),
        running(machine, directory, runner=runner, evidence=evidence, deadline=deadline) as trial,
    ):
        if DONE not in machine.serial.read_text(errors="replace"):
            raise BuildError("the host answers, and the installer never said that it was done")
        yield trial
