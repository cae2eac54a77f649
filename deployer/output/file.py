"""A file a command, named by time, destination and command."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from deployer.output.record import Run


def file_name(now: datetime.datetime, run: Run, number: int = 1) -> str:
    """`2026-01-31T12-00-00_staging_app_boot.log`, as Kamal names them; `…-2_…` where one has it."""
    mark = f"-{number}" if number > 1 else ""
    parts = (now.strftime("%Y-%m-%dT%H-%M-%S") + mark, run.destination, "_".join(run.words))
    return "_".join(filter(None, parts)) + ".log"


class FileRecorder:
    """Writes lines as they come, so that a command that is killed leaves what it said."""

    def __init__(self, folder: Path, run: Run, warn: Callable[[str], None]) -> None:
        self._file: TextIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            now, number = datetime.datetime.now().astimezone(), 1
            while (folder / file_name(now, run, number)).exists():
                number += 1
            self.path = folder / file_name(now, run, number)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "a", buffering=1, encoding="utf-8")
        except OSError as exc:
            warn(f"the output is not written to {folder}: {exc.strerror}")

    def line(self, level: str, host: str, text: str) -> None:
        """One line with the time of day."""
        if self._file is None:
            return
        mark = "" if level in ("info", "debug") else f"{level.upper()} "
        clock = datetime.datetime.now().astimezone().strftime("%H:%M:%S")
        self._file.write(f"{clock} {f'[{host}] ' if host else ''}{mark}{text}\n")

    def finish(self, seconds: float, error: BaseException | None) -> str:
        """Say how it ended, and close."""
        if self._file is None:
            return ""
        if error is None:
            self._file.write(f"# Completed in {seconds:.1f}s\n")
        else:
            self._file.write(f"# FAILED: {type(error).__name__} ({seconds:.1f}s)\n")
        self._file.close()
        return f"the output is in {self.path}"
