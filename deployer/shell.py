"""A shell on a host that runs one script after the other, over one SSH exec.

An exec of its own for each script costs two round trips before the first byte of it has left, and a
login shell on the host. Here a script leaves at once, compressed, so that it fits into the first window
of a new connection; its end comes back as a line with a mark that nobody else can know.
"""

from __future__ import annotations

import base64
import gzip
import secrets
from collections.abc import Callable
from typing import Literal

import paramiko

from deployer.script import Script, StreamParser
from deployer.stream import Lines, Pump, launch, send

# A line names size, mark and use; so many bytes follow. What the scripts read is not this stream. The first
# script may stand in the arguments: a host takes no input before the loop has begun, a round trip later.
# bash reads a script from a pipe byte by byte, 10 ms for the library; what it sources it reads at once.
LOOP = """\
bash -c 'exec 2>&1; set -o pipefail; library=
run() { bash -c ". /dev/stdin" bash; }
[ $# = 0 ] || { printf %s "$2" | base64 -d | gzip -dc | run; printf "%s %s\\n" "$1" $?; }
while read -r size mark use; do
    case $use in
        library) library=$(head -c "$size" | gzip -dc); continue ;;
        with) { printf "%s\\n" "$library"; head -c "$size" | gzip -dc; } | run ;;
        *) head -c "$size" | gzip -dc | run ;;
    esac
    printf "%s %s\\n" "$mark" $?
done' freehold"""
MOST_ARGUMENT = 65536
"""Bytes of a script in an argument, which Linux limits to 128 KiB."""

Use = Literal["library", "with", "alone"]


def packed(text: str, use: Use) -> tuple[bytes, str]:
    """What to send for a text, and the mark of its end: a library to keep, a script with it or without."""
    mark, data = _mark(), gzip.compress(text.encode(), mtime=0)
    return f"{len(data)} {mark} {use}\n".encode() + data, mark


def beginning(text: str) -> tuple[str, str] | None:
    """The command of a loop that begins with this script, and the mark of its end; None: it is too long."""
    mark, data = _mark(), base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return (f"{LOOP} {mark} {data}", mark) if len(data) <= MOST_ARGUMENT else None


def _mark() -> str:
    return f"@@end-{secrets.token_hex(8)}"


class Shell:
    """The loop on one host, by its channel, which has no command yet. One script at a time."""

    def __init__(self, channel: paramiko.Channel, pump: Pump) -> None:
        self._channel, self._pump = channel, pump
        self._library = ""
        self._launched = False

    def launch(self) -> None:
        """Begin, ahead of a script that is to be sent."""
        launch(self._channel, LOOP)
        self._launched = True

    @property
    def ready(self) -> bool:
        """Whether it takes another script."""
        return not self._channel.closed and not self._channel.exit_status_ready()

    def run(self, script: Script, parser: StreamParser, timeout: float) -> int:
        """Feed a script's lines to `parser`; its exit code, -1 where the connection broke.

        Stopped and DeadlineError leave the script running, of whose end nobody will hear: close the shell.
        """
        mark = None if self._launched else self._launch_with(script)
        sender = None
        if mark is None:
            parts = []
            if script.library and script.library != self._library:
                # It travels once, not with each script.
                parts.append(packed(script.library, "library")[0])
                self._library = script.library
            data, mark = packed(script.render(library=False), "with" if script.library else "alone")
            sender = send(self._channel, iter([b"".join([*parts, data])]), more=True)
        ending = Ending(mark, parser.feed)
        lines = Lines(ending.line)
        self._pump.run(lines.feed, lines.feed, timeout=timeout, enough=lambda: ending.status is not None)
        if sender is not None:
            sender.join(5)
        lines.flush()
        return self._channel.recv_exit_status() if ending.status is None else ending.status

    def _launch_with(self, script: Script) -> str | None:
        """Begin with a script where it may be seen by others on the host: the mark of its end."""
        if script.open and (begun := beginning(script.render())):
            launch(self._channel, begun[0])
            self._launched = True
            return begun[1]
        self.launch()
        return None

    def close(self) -> None:
        """It ends once no script runs."""
        self._channel.close()


class Ending:
    """Hands lines on until the one that ends the script; `status` is its exit code from then on."""

    def __init__(self, mark: str, sink: Callable[[str], None]) -> None:
        self._mark, self._sink = mark, sink
        self.status: int | None = None

    def line(self, line: str) -> None:
        """One line of output; what a script printed last may lack its line end."""
        before, mark, status = line.partition(self._mark)
        if not mark:
            self._sink(line)
            return
        if before:
            self._sink(before)
        self.status = int(status)
