"""Holding the deploy lock over SSH."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import paramiko

from deployer.commands import lock as commands
from deployer.remote import Remote
from freehold.errors import HostError, LockedError

BEAT = 15.0
LOOK = 1.0


class LineChannel(Protocol):
    """What is needed of an SSH channel."""

    def recv(self, nbytes: int) -> bytes: ...
    def settimeout(self, timeout: float | None) -> None: ...


@contextlib.contextmanager
def held(
    remote: Remote,
    name: str,
    owner: str,
    *,
    wait: int = 0,
    ignore_manual: bool = False,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[threading.Event]:
    """Hold the lock of a service while the block runs; `wait` seconds for whoever has it.

    Yields an event that is set when the lock is lost: the connection broke, or somebody ended its
    holder on the host. Long before the host gives the lock to another for want of a beat.
    """
    script = commands.hold_script(name, owner, wait=wait, ignore_manual=ignore_manual)
    # As an argument, not on standard input: that would wait for the command to have begun.
    with remote.open_channel(shlex.join(("bash", "-c", script))) as channel:
        _await_taken(channel, remote.name, wait, on_wait)
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

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            done.set()
            with contextlib.suppress(OSError, EOFError):
                channel.shutdown_write()
                # Released before the next command of the same person can ask for it.
                channel.status_event.wait(5)


def _held_still(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    return not channel.closed and not channel.exit_status_ready() and transport.is_active()


def _await_taken(channel: LineChannel, host: str, wait: int, on_wait: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + wait + 45
    rest = b""
    holder: str | None = None
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
            state, _, holder = tail.partition(" ")
            if state == commands.TAKEN:
                return
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
