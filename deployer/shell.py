"""A shell on a host that runs one script after the other, over one SSH exec.

An exec of its own for each script costs two round trips before the first byte of it has left, and a
login shell on the host. Here a script leaves at once, compressed, so that it fits into the first window
of a new connection; its end comes back as a line with a mark that nobody else can know.
"""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Callable
from typing import Literal

import paramiko

from deployer.script import Script, StreamParser
from deployer.stream import Lines, Pump, send

# A line names size, mark and use; so many bytes follow. What the scripts read is not this stream.
LOOP = """\
bash -c 'exec 2>&1; set -o pipefail; library=
while read -r size mark use; do
    case $use in
        library) library=$(head -c "$size" | gzip -dc); continue ;;
        with) { printf "%s\\n" "$library"; head -c "$size" | gzip -dc; } | bash -s ;;
        *) head -c "$size" | gzip -dc | bash -s ;;
    esac
    printf "%s %s\\n" "$mark" $?
done'"""

Use = Literal["library", "with", "alone"]


def packed(text: str, use: Use) -> tuple[bytes, str]:
    """What to send for a text, and the mark of its end: a library to keep, a script with it or without."""
    mark = f"@@end-{secrets.token_hex(8)}"
    data = gzip.compress(text.encode(), mtime=0)
    return f"{len(data)} {mark} {use}\n".encode() + data, mark


class Shell:
    """The loop on one host, by its channel. One script at a time."""

    def __init__(self, channel: paramiko.Channel, pump: Pump) -> None:
        self._channel, self._pump = channel, pump
        self._library = ""

    @property
    def ready(self) -> bool:
        """Whether it takes another script."""
        return not self._channel.closed and not self._channel.exit_status_ready()

    def run(self, script: Script, parser: StreamParser, timeout: float) -> int:
        """Feed a script's lines to `parser`; its exit code, -1 where the connection broke.

        Stopped and DeadlineError leave the script running, of whose end nobody will hear: close the shell.
        """
        parts = []
        if script.library and script.library != self._library:
            # It travels once, not with each script.
            parts.append(packed(script.library, "library")[0])
            self._library = script.library
        data, mark = packed(script.render(library=False), "with" if script.library else "alone")
        ending = Ending(mark, parser.feed)
        lines = Lines(ending.line)
        sender = send(self._channel, iter([b"".join([*parts, data])]), more=True)
        self._pump.run(lines.feed, lines.feed, timeout=timeout, enough=lambda: ending.status is not None)
        sender.join(5)
        lines.flush()
        return self._channel.recv_exit_status() if ending.status is None else ending.status

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
