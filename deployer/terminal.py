"""A remote command on this terminal: raw mode, resize, Ctrl-C to the other side, its exit code."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from types import FrameType
from typing import Any

from deployer.remote import Remote
from deployer.stream import CHUNK


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
        sources = [channel, stdin, woken]
        while True:
            ready, _, _ = select.select(sources, [], [], 1.0)
            if channel in ready or channel.recv_ready():
                try:
                    data = channel.recv(65536)
                except TimeoutError:
                    data = None
                if data == b"":
                    break
                if data:
                    os.write(sys.stdout.fileno(), data)
            if woken in ready:
                os.read(woken, 4096)
                now = window()
                with contextlib.suppress(OSError):
                    channel.resize_pty(now.columns, now.lines)
            if stdin in ready:
                typed = os.read(stdin, 4096)
                if typed:
                    channel.sendall(typed)
                else:
                    # The end of a file that was piped in: the terminal's own word for it.
                    channel.sendall(b"\x04")
                    sources.remove(stdin)
            if channel.exit_status_ready() and not channel.recv_ready():
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
        sources: list[Any] = [channel]
        stdin = sys.stdin.fileno()
        if os.isatty(stdin):
            channel.shutdown_write()
        else:
            sources.append(stdin)
        channel.settimeout(30.0)
        while True:
            ready, _, _ = select.select(sources, [], [], 1.0)
            while channel.recv_stderr_ready():
                _write(sys.stderr.fileno(), channel.recv_stderr(CHUNK))
            if channel in ready:
                data = channel.recv(CHUNK)
                if not data:
                    while rest := channel.recv_stderr(CHUNK):
                        _write(sys.stderr.fileno(), rest)
                    return channel.recv_exit_status()
                _write(sys.stdout.fileno(), data)
            if stdin in ready:
                typed = os.read(stdin, CHUNK)
                if typed:
                    # A command that ends before it has read everything says why by its exit code.
                    with contextlib.suppress(OSError):
                        channel.sendall(typed)
                else:
                    channel.shutdown_write()
                    sources.remove(stdin)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
