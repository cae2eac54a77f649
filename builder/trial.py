"""Boot an image for real and look inside over SSH: what `image test` and the end-to-end tests stand on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from builder.image import Image
from builder.qemu import PROBE_WORDS, SERVER, Machine, Mode, check_mode, firmware, probe, qemu
from builder.spec import ARCHES, GiB
from builder.watch import Serial, await_answer, ssh_banner
from cloudinit.hostkeys import generate_host_key
from cloudinit.iso import write_iso
from cloudinit.keys import parse_public_key
from cloudinit.seed import Seed, render_seed
from cloudinit.serve import kernel_argument, serve
from cloudinit.users import User
from freehold.environment import which
from freehold.errors import BuildError, ProcessError
from freehold.files import new_private_dir, write_atomic
from freehold.process import Completed, Runner, Started

# How a machine comes by its seed.
SeedBy = Literal["disk", "smbios", "kernel"]
USER = "deploy"
NAME = "trial"
# What the root must have grown to: more than the image itself holds.
GROWN = 10 * GiB


@dataclass(frozen=True)
class Trial:
    """A machine that answers over SSH. `seconds`: from power-on to the first answer."""

    machine: Machine
    runner: Runner
    directory: Path
    seconds: float

    @property
    def ssh_config(self) -> Path:
        """An ssh_config in which the machine's name is `trial`."""
        return self.directory / "ssh_config"

    def ssh(self, command: str, *, timeout: float = 120, check: bool = True) -> Completed:
        """Run a shell command in the machine."""
        argv = ("ssh", "-F", self.ssh_config, NAME, command)
        return self.runner.run(argv, timeout=timeout, check=check)


@contextmanager
def booted(
    image: Image,
    mode: Mode,
    *,
    runner: Runner,
    evidence: Path | None = None,
    deadline: float = 1800,
    seed_by: SeedBy = "disk",
    ssh_port: int = 22,
) -> Iterator[Trial]:
    """Boot a copy-on-write overlay of `image` with a seed; yield once SSH answers; power off at the end.

    `evidence` is a directory that receives the serial log, and a screenshot when something in the block or
    the boot fails. `deadline` in seconds. `seed_by` is how the machine gets its seed; `kernel` needs the mode
    `direct`. `ssh_port` is where the image's sshd listens. Raises BuildError with the console's last lines.
    """
    check_machine(image.arch, mode)
    directory = new_private_dir(Path(tempfile.mkdtemp(prefix="freehold-trial-")))
    try:
        machine, files = _prepare(image, mode, directory, runner, ssh_port)
        with (
            seeded(machine, files, seed_by, directory) as ready,
            running(ready, directory, runner=runner, evidence=evidence, deadline=deadline) as trial,
        ):
            yield trial
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running(
    machine: Machine,
    directory: Path,
    *,
    runner: Runner,
    evidence: Path | None,
    deadline: float,
    greeted: Callable[[], bool] | None = None,
) -> Iterator[Trial]:
    """Power `machine` on, whose `access` was made in `directory`; yield once SSH answers.

    `greeted` says whether it does, where nobody may log in.
    """
    with powered(machine, directory, runner=runner, evidence=evidence) as process:

        def answers() -> bool:
            if greeted is not None or not ssh_banner(machine.port):
                return greeted is not None and greeted()
            try:
                runner.run(("ssh", "-F", directory / "ssh_config", NAME, "true"), timeout=60)
            except ProcessError:
                return False
            return True

        serial = Serial(machine.serial, partial(reset, machine))
        seconds = await_answer(serial, process, answers, log=directory / "qemu.log", deadline=deadline)
        yield Trial(machine, runner, directory, seconds)


@contextmanager
def powered(
    machine: Machine, directory: Path, *, runner: Runner, evidence: Path | None, name: str = ""
) -> Iterator[Started]:
    """QEMU while the block lasts; `evidence` gets its serial log, and a screenshot where the block fails."""
    name = name or machine.mode
    with runner.start(qemu(machine), stdout=directory / "qemu.log") as process:
        try:
            yield process
        except BaseException as exc:
            if evidence is not None:
                evidence.mkdir(parents=True, exist_ok=True)
                _screenshot(machine.monitor, evidence / f"{name}.png")
                exc.add_note(f"serial log and screenshot: {evidence / name}.log, .png")
            raise
        finally:
            if evidence is not None and machine.serial.exists():
                evidence.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(machine.serial, evidence / f"{name}.log")


def check_machine(arch: str, mode: Mode) -> None:
    """UsageError or BuildError where no such machine can be started here."""
    check_mode(arch, mode)
    program = f"qemu-system-{ARCHES[arch].qemu}"
    if which(program) is None:
        raise BuildError(f"{program} is not installed", hint=f"apt-get install {_qemu_package(arch)}")


def _qemu_package(arch: str) -> str:
    return "qemu-system-x86" if arch == "amd64" else "qemu-system-arm"


def access(directory: Path) -> tuple[int, dict[str, bytes]]:
    """Keys, known_hosts and ssh_config in `directory`; the port, and the seed of a machine that they fit."""
    client, host = generate_host_key("trial"), generate_host_key(NAME)
    write_atomic(directory / "key", client.private.reveal(), 0o600)
    port = free_port()
    write_atomic(directory / "known_hosts", host.known_hosts("127.0.0.1", port) + "\n")
    write_atomic(directory / "ssh_config", ssh_config(directory, port))
    user = User(USER, keys=(parse_public_key(client.public),))
    seed = render_seed(Seed(NAME, users=(user,), host_keys=(host,)), allow_secrets=True)
    return port, seed.files()


@contextmanager
def seeded(
    machine: Machine, files: Mapping[str, bytes], seed_by: SeedBy, directory: Path
) -> Iterator[Machine]:
    """`machine` with the way to its seed: a disk, or a server that SMBIOS or the kernel's arguments name."""
    if seed_by == "disk":
        write_iso(files, directory / "seed.iso")
        yield replace(machine, seed=directory / "seed.iso")
        return
    argument = kernel_argument(f"http://{SERVER}/")
    with serve(files, "127.0.0.1", 0, lambda line: None) as server:
        ready = replace(machine, served=urlsplit(server.url).port or 0)
        if seed_by == "smbios":
            yield replace(ready, serial_number=argument)
        else:
            yield replace(ready, cmdline=f"{machine.cmdline} {argument}")


def _prepare(
    image: Image, mode: Mode, directory: Path, runner: Runner, ssh_port: int
) -> tuple[Machine, Mapping[str, bytes]]:
    port, files = access(directory)
    disk = directory / "disk.qcow2"
    _run(
        runner,
        ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.qcow2, disk, str(GROWN)),
    )
    machine = Machine(
        arch=image.arch,
        mode=mode,
        disk=disk,
        seed=None,
        serial=directory / "serial.log",
        monitor=directory / "qmp",
        port=port,
        variables=own_variables(image.arch, mode, directory),
        kernel=image.kernel,
        initrd=image.initrd,
        cmdline=image.cmdline,
        kvm=kvm_works(image.arch, image.kernel, runner),
        ssh_port=ssh_port,
    )
    return machine, files


def own_variables(arch: str, mode: Mode, directory: Path) -> Path | None:
    """The machine's own copy of the firmware's variables; None for a firmware that has none."""
    found = firmware(arch, mode)
    if found is None:
        return None
    variables = directory / "variables.fd"
    shutil.copyfile(found.variables, variables)
    return variables


def kvm_works(arch: str, kernel: Path, runner: Runner) -> bool:
    """Whether a guest with this kernel really runs under KVM here."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    try:
        done = runner.run(probe(arch, kernel), timeout=10, check=False)
    except ProcessError:
        return False
    return PROBE_WORDS in done.stdout


def ssh_config(
    directory: Path, port: int, *, user: str = USER, key: Path | None = None, pinned: bool = True
) -> str:
    """How ssh reaches the machine. Not `pinned`: whatever key it shows first is its own from then on."""
    return f"""\
Host {NAME}
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile "{key or directory / "key"}"
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking {"yes" if pinned else "accept-new"}
    BatchMode yes
    ConnectTimeout 15
    ControlMaster auto
    ControlPath {directory}/control
    ControlPersist 600
    LogLevel ERROR
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _screenshot(monitor: Path, target: Path) -> None:
    _command(monitor, "screendump", filename=str(target), format="png")


def reset(machine: Machine) -> None:
    """Press the button of a machine."""
    _command(machine.monitor, "system_reset")


def _command(monitor: Path, name: str, **arguments: str) -> None:
    """Best effort: the machine may be gone already, and the failure itself matters more."""
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(monitor))
        stream = connection.makefile("rw", encoding="utf-8")
        stream.readline()
        for command in ({"execute": "qmp_capabilities"}, {"execute": name, "arguments": arguments}):
            stream.write(json.dumps(command) + "\n")
            stream.flush()
            stream.readline()


def _run(runner: Runner, argv: tuple[str | Path, ...]) -> None:
    try:
        runner.run(argv, timeout=60)
    except ProcessError as exc:
        raise BuildError(str(exc), hint=exc.hint, details=exc.details) from exc
