"""The lab's switch from outside: start it, talk to it, end it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from freehold.errors import LabError
from freehold.files import new_private_dir
from freehold.process import Runner

STARTING = 15.0
STOPPING = 5.0
MODULE = "lab.switchd"


class Wire:
    """The private networks of one lab; the switch's process and sockets are in `folder`."""

    def __init__(self, runtime: Path) -> None:
        self.folder = runtime / "lan"

    def socket(self, port: str) -> Path:
        """Where the QEMU of that port's machine connects."""
        return self.folder / f"{port}.sock"

    @property
    def pid(self) -> int | None:
        """The switch's process, or None; a number that is another program's by now is not taken."""
        try:
            pid = int((self.folder / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.folder).encode() in words and MODULE.encode() in words else None

    def ensure(self, ports: Sequence[str], runner: Runner) -> None:
        """Start the switch unless it runs, with these ports and no other."""
        if self.pid is not None:
            self.ask("ports", ports=list(ports))
            return
        try:
            self._start(runner)
            self.ask("ports", ports=list(ports))
        except BaseException:
            self.end()
            raise

    def _start(self, runner: Runner) -> None:
        new_private_dir(self.folder)
        (self.folder / "control").unlink(missing_ok=True)
        log = self.folder / "log"
        # -P: the directory that the command runs in must not stand before the installed modules.
        started = runner.start(
            [sys.executable, "-P", "-m", MODULE, self.folder],
            env={"PYTHONPATH": str(Path(__file__).parent.parent)},
            cwd=self.folder,
            stdout=log,
            detach=True,
        )
        deadline = time.monotonic() + STARTING
        while not (self.folder / "control").exists():
            if started.poll() is not None or time.monotonic() > deadline:
                details = log.read_text(errors="replace").splitlines()[-10:]
                raise LabError("the lab's switch did not start", details=details)
            time.sleep(0.02)

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """One request to the switch; its state afterwards."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(10)
                connection.connect(str(self.folder / "control"))
                connection.sendall(json.dumps({"do": what, **arguments}).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    answer = json.loads(stream.readline())
        except (OSError, ValueError) as exc:
            raise LabError(
                f"the lab's switch does not answer: {exc}", hint="`freehold lab up` starts it again"
            ) from exc
        if not isinstance(answer, dict) or not answer.get("ok"):
            raise LabError(f"the lab's switch refused: {answer.get('error')}")
        return answer

    def fault(self, port: str, **changes: Any) -> None:
        """Change a port's link: cut, delay, jitter, loss, rate."""
        self.ask("fault", port=port, changes=changes)

    def partition(self, groups: Iterable[Iterable[str]]) -> None:
        """Keep groups of ports apart."""
        self.ask("partition", groups=[list(group) for group in groups])

    def heal(self) -> None:
        """Make every link whole."""
        self.ask("heal")

    def end(self) -> None:
        """End the switch and remove its directory."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid
            if pid is None:
                break
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + STOPPING
            while self.pid is not None and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.pid is not None:
            raise LabError(f"the lab's switch {self.pid} does not end", hint=f"end it: kill -9 {self.pid}")
        shutil.rmtree(self.folder, ignore_errors=True)
