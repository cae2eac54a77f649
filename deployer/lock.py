"""Holding the deploy lock over SSH."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import paramiko

from deployer.commands import lock as commands
from deployer.remote import Remote
from freehold.errors import HostError, LockedError

BEAT = 15.0
LOOK = 1.0
ROUNDING = 0.02
"""Seconds by which the host may take the lock for idle longer than it was."""


class LineChannel(Protocol):
    """What is needed of an SSH channel."""

    def recv(self, nbytes: int) -> bytes: ...
    def settimeout(self, timeout: float | None) -> None: ...


@dataclass(frozen=True)
class Held:
    """A lock that is held.

    `lost` is set when it is held no longer: the connection broke, or somebody ended its holder on the host.
    Long before the host gives the lock to another for want of a beat.
    """

    lost: threading.Event
    alone: bool
    """Nobody else had it since before it was asked for: what was seen of the hosts meanwhile still counts."""


@contextlib.contextmanager
def held(
    remote: Remote,
    name: str,
    owner: str,
    *,
    wait: int = 0,
    ignore_manual: bool = False,
    on_wait: Callable[[str], None] | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Iterator[Held]:
    """Hold the lock of a service while the block runs; `wait` seconds for whoever has it.

    `meanwhile` is called once the lock has been asked for, before its answer is waited for.
    """
    script = commands.hold_script(name, owner, wait=wait, ignore_manual=ignore_manual)
    # As an argument: it arrives with the request for the channel's command.
    with remote.open_channel(shlex.join(("bash", "-c", script))) as channel:
        done, lost = threading.Event(), threading.Event()

        def beat() -> None:
            rest = BEAT
            while not done.wait(LOOK):
                rest -= LOOK
                try:
                    if not _held_still(channel):
                        raise EOFError
                    if rest <= 0:
                        rest = BEAT
                        channel.sendall(b"\n")
                except (OSError, EOFError):
                    lost.set()
                    return

        # From the start: what is done meanwhile may take longer than the host waits for a beat.
        threading.Thread(target=beat, daemon=True).start()
        try:
            began = time.monotonic()
            meanwhile()
            idle = _await_taken(channel, remote.name, wait, on_wait)
            # Both are lengths of time: the clocks of the host and of this computer need not agree.
            took = time.monotonic() - began + ROUNDING
            yield Held(lost, alone=idle is not None and idle > took)
        finally:
            done.set()
            with contextlib.suppress(OSError, EOFError):
                # That ends it. The next command of the same person asks later than this arrives, and for
                # longer than a moment.
                channel.shutdown_write()


def _held_still(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    return not channel.closed and not channel.exit_status_ready() and transport.is_active()


def _await_taken(
    channel: LineChannel, host: str, wait: int, on_wait: Callable[[str], None] | None
) -> float | None:
    """Seconds for which nobody had it before; None where that is not known."""
    deadline = time.monotonic() + wait + 45
    rest = b""
    holder: str | None = None
    idle: float | None = None
    channel.settimeout(1.0)
    while time.monotonic() < deadline:
        try:
            data = channel.recv(4096)
        except TimeoutError:
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            mark, _, tail = line.decode(errors="replace").partition(" ")
            if mark != "@@lock":
                continue
            state, _, said = tail.partition(" ")
            if state == commands.IDLE:
                idle = int(said) / 100
                continue
            if state == commands.TAKEN:
                return idle
            holder = said
            if state == commands.MISSING:
                raise HostError(
                    "the directory for locks cannot be written",
                    host=host,
                    step="lock",
                    hint="`freehold server bootstrap` prepares the host (the user must be in group freehold)",
                )
            if state == commands.CLOSED:
                raise HostError(
                    f"the lock's file belongs to {holder or 'somebody else'} alone",
                    host=host,
                    step="lock",
                    hint="`freehold server bootstrap` opens what is there to the group freehold",
                )
            if state == commands.MANUAL:
                raise LockedError(_sentence(host, holder), hint="`freehold lock release` frees it")
            if wait and on_wait is not None:
                on_wait(_sentence(host, holder))
        if not data:
            break
    raise LockedError(
        _sentence(host, holder) if holder is not None else f"{host}: the lock could not be taken",
        hint="wait for it with --lock-wait, or look with `freehold lock status`",
    )


def _sentence(host: str, holder: str) -> str:
    owner = commands.parse_owner(holder)
    who, why, since = owner.get("by", "somebody"), owner.get("why", ""), owner.get("since", "")
    return f"{host}: locked by {who}" + (f" since {since}" if since else "") + (f": {why}" if why else "")
