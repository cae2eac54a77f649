"""The road to machines on another computer: forwards of one ssh to its hypervisor, on loopback addresses.

So a machine there has the same addresses here as one of this computer, for every command and program.
"""

from __future__ import annotations

import fcntl
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from freehold.errors import LabError, UsageError
from freehold.files import new_private_dir
from freehold.process import Runner
from lab import sweep
from lab.state import Hypervisor, LabState, MachineState

STARTING = 30.0


def folder(runtime: Path) -> Path:
    """Where the tunnels of a lab have their control sockets."""
    return runtime / "t"


def control(state: LabState, hypervisor: Hypervisor) -> Path:
    """The control socket; its path on the command line also marks the process as the lab's."""
    return folder(state.runtime) / str(state.hypervisors.index(hypervisor))


def ssh_words(uri: str) -> tuple[list[str], str]:
    """The ssh command for a libvirt URI with what stands in it (`command`, `keyfile`), and the host."""
    parts = urlsplit(uri)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    words = [options.get("command", "ssh")]
    if "keyfile" in options:
        words += ["-i", options["keyfile"]]
    if options.get("no_verify") == "1":
        raise UsageError(
            f"{uri} takes any host key (no_verify)", hint="connect once by ssh, so that its key is known"
        )
    if parts.port:
        words += ["-p", str(parts.port)]
    if parts.username:
        words += ["-l", unquote(parts.username)]
    return words, str(parts.hostname)


def command(state: LabState, hypervisor: Hypervisor) -> list[str]:
    """The ssh that forwards every port of the machines there."""
    words, host = ssh_words(hypervisor.uri)
    # A master of its own: one of the user's would keep the forwards when this one ends.
    words += ["-N", "-T", "-M", "-S", str(control(state, hypervisor))]
    for option in (
        "BatchMode=yes",
        "ExitOnForwardFailure=yes",
        "ServerAliveInterval=15",
        "ControlPersist=no",
        "ForwardAgent=no",
        "PermitLocalCommand=no",
    ):
        words += ["-o", option]
    for machine in state.on(hypervisor):
        for here, there in machine.forwards:
            words += ["-L", f"{machine.address}:{here}:{machine.management}:{there}"]
    return [*words, host]


def ensure(state: LabState, runner: Runner, machines: Sequence[MachineState] | None = None) -> None:
    """Start each tunnel that does not run with the machines as they are; LabError where one cannot.

    With `machines` only the tunnels to these.
    """
    places = {item.hypervisor for item in (state.machines if machines is None else machines)}
    far = [item for item in state.hypervisors if item.remote and item.name in places]
    if not far:
        return
    # Every road to a machine comes by here, several at once: one of them starts the tunnel.
    with (new_private_dir(folder(state.runtime)) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for hypervisor in far:
            _ensure(state, hypervisor, runner)


def _ensure(state: LabState, hypervisor: Hypervisor, runner: Runner) -> None:
    path = control(state, hypervisor)
    wanted = command(state, hypervisor)
    note, log = path.with_suffix(".command"), path.with_suffix(".log")
    if path.exists() and note.is_file() and note.read_text() == shlex.join(wanted):
        words, host = ssh_words(hypervisor.uri)
        if runner.run([*words, "-S", path, "-O", "check", host], check=False, timeout=20).returncode == 0:
            return
    _end(path)
    log.unlink(missing_ok=True)
    started = runner.start(wanted, stdout=log, detach=True)
    deadline = time.monotonic() + STARTING
    # The socket is there when ssh is logged in and has made its forwards.
    while not path.exists():
        if started.poll() is not None or time.monotonic() > deadline:
            started.stop()
            raise LabError(
                f"no tunnel to {hypervisor.uri}",
                hint="machines there are reached by ssh to the hypervisor with forwards (AllowTcpForwarding)",
                details=log.read_text(errors="replace").splitlines()[-10:] if log.exists() else (),
            )
        time.sleep(0.05)
    note.write_text(shlex.join(wanted))


def end(runtime: Path) -> None:
    """End the tunnels of a lab and remove their sockets."""
    if folder(runtime).is_dir():
        for path in folder(runtime).glob("*.command"):
            _end(path.with_suffix(""))
        shutil.rmtree(folder(runtime))


def _end(path: Path) -> None:
    left = sweep.finish(sweep.processes([path]))
    if left:
        raise LabError(f"the tunnel {left[0].pid} does not end", hint=f"end it: kill -9 {left[0].pid}")
    path.unlink(missing_ok=True)
