"""A remote command on this terminal: raw mode, resize, Ctrl-C to the other side, its exit code."""

from __future__ import annotations

import contextlib
import math
import os
import select
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from functools import partial
from types import FrameType

import paramiko

from deployer.remote import Remote
from deployer.stream import CHUNK, Pump, exit_code, send

PATIENCE = 10.0
"""Seconds without a word after which a terminal ends whose command has ended."""


def interactive(remote: Remote, command: str) -> int:
    """Run `command` with a terminal of its own, joined to this one; returns its exit code."""
    size = window()
    channel = remote.open_terminal(command, os.environ.get("TERM", "xterm"), size.columns, size.lines)
    stdin = sys.stdin.fileno()
    local = os.isatty(stdin)
    saved = termios.tcgetattr(stdin) if local else None

    # The handler only wakes the loop: it may come while this thread is inside of the connection.
    woken, wake = os.pipe()

    def resized(_signal: int, _frame: FrameType | None) -> None:
        os.write(wake, b".")

    previous = signal.signal(signal.SIGWINCH, resized)
    try:
        if local:
            # Ctrl-C and Ctrl-Z are characters for the other side now.
            tty.setraw(stdin)
        channel.settimeout(0.0)
        typing, typed, limit = True, b"", math.inf
        while True:
            sources = [channel, woken, *([stdin] if typing and not typed else [])]
            ready, _, _ = select.select(sources, [], [], 0.05 if typed else 0.5)
            if channel in ready or channel.recv_ready():
                try:
                    data = channel.recv(CHUNK)
                except TimeoutError:
                    data = None
                if data == b"":
                    break
                if data:
                    _write(sys.stdout.fileno(), data)
                    limit = math.inf
            if woken in ready:
                os.read(woken, 4096)
                now = window()
                with contextlib.suppress(OSError):
                    channel.resize_pty(now.columns, now.lines)
            if stdin in ready:
                typed = os.read(stdin, 4096)
                if not typed:
                    # The end of a file that was piped in: the terminal's own word for it.
                    typing, typed = False, b"\x04"
            # The other side may take a part only, or nothing yet, or have ended.
            with contextlib.suppress(OSError):
                typed = typed[channel.send(typed) :] if typed else b""
            # The last words may come after the exit code. What it left behind may hold the terminal for ever.
            if channel.exit_status_ready():
                limit = min(limit, time.monotonic() + PATIENCE)
            if time.monotonic() > limit:
                break
        return channel.recv_exit_status()
    finally:
        signal.signal(signal.SIGWINCH, previous)
        os.close(woken)
        os.close(wake)
        if saved is not None:
            termios.tcsetattr(stdin, termios.TCSADRAIN, saved)
        channel.close()


def window() -> os.terminal_size:
    """The size of the window as it is now, whatever COLUMNS and LINES said when the shell began."""
    for stream in (sys.stdout, sys.stdin):
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(stream.fileno())
    return shutil.get_terminal_size()


def raw(remote: Remote, command: str) -> int:
    """Run `command` without a terminal; its two streams come out here byte by byte. Its exit code.

    What stands on standard input is sent along, unless it is this terminal.
    """
    with remote.open_channel(command) as channel:
        stdin = sys.stdin.fileno()
        if os.isatty(stdin):
            channel.shutdown_write()
        else:
            # From a thread: neither a silent command nor one that reads late may hold up the other way.
            send(channel, _given(stdin, channel))
        Pump(channel, remote.name, threading.Event()).run(
            partial(_write, sys.stdout.fileno()), partial(_write, sys.stderr.fileno())
        )
        return exit_code(channel)


def _given(stdin: int, channel: paramiko.Channel) -> Iterator[bytes]:
    """What comes on standard input, for as long as the other side is there."""
    while not channel.closed:
        ready, _, _ = select.select([stdin], [], [], 0.2)
        if ready:
            data = os.read(stdin, CHUNK)
            if not data:
                return
            yield data


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
