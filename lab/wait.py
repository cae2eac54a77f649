"""Waiting until a machine is ready: its SSH server answers with the known key, cloud-init is done.

All waits have a deadline; a machine that panics, stops or fails its first boot ends the wait at once,
with the last lines of its console.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from cloudinit.parts.extras import COMMANDS
from freehold.errors import DeadlineError, LabError, ProcessTimeout
from freehold.process import Runner, Started
from lab.ssh import ssh_command
from lab.state import LabState, MachineState

TAIL_LINES = 25
TAIL_BYTES = 64 * 1024
POLL = 0.5
# The machine's shell waits: `cloud-init status --wait`, or one login after the other, would cost seconds of
# an emulated processor. A connection that hangs is given up after some time.
RESULT = "/run/cloud-init/result.json"
# The profile's commands come after it: their unit has a job until they have ended.
CLOUD_INIT_DONE = f"""while ! test -s {RESULT}; do sleep 0.3; done
while systemctl list-jobs --no-legend {COMMANDS} 2>/dev/null | grep -q {COMMANDS}; do sleep 0.3; done
cat {RESULT}"""
HANGING = 60.0

STAGES = (
    ("login:", "booted"),
    ("Cloud-init v", "cloud-init"),
    ("systemd[1]", "starting services"),
    ("Run /init", "initrd"),
    ("Linux version", "kernel"),
)
PANICKED = "the kernel panicked"
FATAL = (
    ("Kernel panic - not syncing", PANICKED),
    ("Entering emergency mode", "systemd went into emergency mode"),
    ("Dropping to a shell!", "the initrd did not find the root disk"),
    ("Gave up waiting for root", "the initrd did not find the root disk"),
)
# The first sign of a seed that is damaged or missing: cloud-init goes on without, and sshd makes a key.
FOREIGN = "it does not have the SSH host key that its seed gave it: cloud-init read no seed, or another one"
# Colours and cursors, colours of the terminal's palette, character sets; agetty sends all of them.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f]"
)


def console_size(path: Path) -> int:
    """Bytes that the console log has now; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def console_tail(path: Path, lines: int = TAIL_LINES, *, since: int = 0) -> tuple[str, ...]:
    """The last lines of a console log from byte `since` on, without terminal escapes."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(since, stream.tell() - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ()
    cleaned = (_ESCAPES.sub("", line).rstrip() for line in text.replace("\r\n", "\n").split("\n"))
    return tuple(line for line in cleaned if line)[-lines:]


def stage(tail: tuple[str, ...], before: str = "starting") -> str:
    """How far a boot has come, from the console's last lines; never less than it was `before`."""
    for mark, name in STAGES:
        if name == before or any(mark in line for line in tail):
            return name
    return before


def fatal(tail: tuple[str, ...]) -> str:
    """Why the machine will never come up, or nothing."""
    for line in tail:
        for mark, cause in FATAL:
            if mark in line:
                return cause
    return ""


def wait_ready(
    state: LabState,
    machine: MachineState,
    *,
    deadline: float,
    runner: Runner,
    alive: Callable[[], str],
    tell: Callable[[str], None],
    stop: Event,
    since: int = 0,
) -> None:
    """Return when the machine is ready. `deadline` on time.monotonic(); `alive` says its libvirt state.

    The console counts from byte `since` on: what stands before belongs to an earlier boot.

    `stop` ends the wait from another thread (LabError "given up").
    """
    started = time.monotonic()
    console = state.console(machine)
    _wait_banner(machine, console, since, deadline, started, alive, tell, stop)
    tell("SSH answers, cloud-init at work")
    _wait_cloud_init(state, machine, console, since, deadline, started, runner, alive, stop)


CALL = b"SSH-2.0-Freehold\r\n"


def banner(address: str, port: int, timeout: float) -> str:
    """What an SSH server says first, or nothing. User-mode networking accepts before the machine does."""
    try:
        with socket.create_connection((address, port), timeout=timeout) as connection:
            connection.settimeout(timeout)
            # passt before October 2024 lets a server begin only when its client has said something. And while
            # no machine answers, a connection that is half closed keeps its processor busy: end it whole.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(CALL)
            data = connection.recv(255)
    except OSError:
        return ""
    return data.decode(errors="replace").strip() if data.startswith(b"SSH-") else ""


def _wait_banner(
    machine: MachineState,
    console: Path,
    since: int,
    deadline: float,
    started: float,
    alive: Callable[[], str],
    tell: Callable[[str], None],
    stop: Event,
) -> None:
    reached = "starting"
    while not banner(machine.address, machine.ssh_port, 5.0):
        reached = stage(_lively(machine, console, since, alive), reached)
        if stop.wait(POLL):
            raise LabError(f"{machine.name}: given up")
        if time.monotonic() > deadline:
            raise late(machine, f"no SSH server answers (last seen: {reached})", started, console)
        tell(reached)


def _lively(machine: MachineState, console: Path, since: int, alive: Callable[[], str]) -> tuple[str, ...]:
    """The console's last lines; LabError where the machine panicked or stopped."""
    # First, as this also brings the console up to date where it is on another computer.
    current = alive()
    tail = console_tail(console, since=since)
    cause = fatal(tail)
    if not cause and current not in ("running", "paused"):
        cause = f"the machine is {current}"
    if cause:
        raise failure(machine, cause, console)
    return tail


def _wait_cloud_init(
    state: LabState,
    machine: MachineState,
    console: Path,
    since: int,
    deadline: float,
    started: float,
    runner: Runner,
    alive: Callable[[], str],
    stop: Event,
) -> None:
    last = "cloud-init is not done"
    command = ssh_command(state, machine, [CLOUD_INIT_DONE], shell=True)
    with TemporaryDirectory(prefix="freehold-wait-") as folder:
        said = Path(folder) / "said"
        while time.monotonic() < deadline:
            said.unlink(missing_ok=True)
            given_up = min(deadline, time.monotonic() + HANGING)
            with runner.start(command, stdout=said) as asking:
                while (code := _ended(asking)) is None and time.monotonic() < given_up:
                    _lively(machine, console, since, alive)
                    if stop.is_set():
                        raise LabError(f"{machine.name}: given up")
            text = said.read_text(errors="replace").strip()
            if code == 0:
                errors = cloud_init_errors(text)
                if errors:
                    raise failure(machine, "cloud-init failed", console, errors)
                return
            if "HOST IDENTIFICATION HAS CHANGED" in text or "Host key verification failed" in text:
                raise failure(machine, FOREIGN, console)
            if code is not None:
                last = text.splitlines()[-1] if text else "ssh failed"
            _lively(machine, console, since, alive)
            if stop.wait(POLL):
                raise LabError(f"{machine.name}: given up")
    raise late(machine, last, started, console)


def _ended(process: Started) -> int | None:
    """The exit code of a process, or None where it goes on for now."""
    try:
        return process.wait(POLL)
    except ProcessTimeout:
        return None


def cloud_init_errors(text: str) -> tuple[str, ...]:
    """The errors in cloud-init's result.json (its form: {"v1": {"datasource": ..., "errors": [...]}})."""
    try:
        found = json.loads(text)["v1"]["errors"]
    except (ValueError, KeyError, TypeError):
        return (f"cloud-init's result cannot be read: {text[:200]!r}",)
    # Each stage that heard of it tells it again.
    return tuple(dict.fromkeys(str(error) for error in found))


def failure(machine: MachineState, cause: str, console: Path, before: tuple[str, ...] = ()) -> LabError:
    """The error of a machine that cannot become ready, with its console."""
    return LabError(
        f"{machine.name}: {cause}",
        hint=f"the whole console: `freehold lab logs {machine.name}` ({console})",
        details=(*before, *console_tail(console)),
    )


def late(machine: MachineState, what: str, started: float, console: Path) -> DeadlineError:
    """The error of a machine that was not ready in time, with its console."""
    return DeadlineError(
        f"{machine.name}: not ready after {time.monotonic() - started:.0f} s: {what}",
        hint="a longer `deadline:` in config/lab.yml, or the console's lines above",
        details=console_tail(console),
    )
