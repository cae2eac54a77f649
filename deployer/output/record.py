"""Recording one command: everything that the console says, with secrets taken out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deployer.config.logs import Output
from freehold.console import Console
from freehold.secret import Secret, redact

READING = frozenset(
    {
        *("audit", "config", "details", "diff", "lock status", "status", "top"),
        *("app containers", "app details", "app images", "app logs", "app version"),
        *("accessory details", "accessory logs", "backup get", "backup list", "build details"),
        *("jobs list", "jobs logs", "proxy boot_config", "proxy details", "proxy logs"),
        *("server check", "server trust"),
    }
)
"""Commands that change nothing on a host; they are not recorded, as with Kamal."""


class ExitCode(Exception):
    """A command ended with an exit code that tells of a failure, and said why by itself."""


def changes(words: Sequence[str]) -> bool:
    """Whether a command may change something."""
    return bool(words) and " ".join(words) not in READING


@dataclass(frozen=True)
class Run:
    """What is recorded: the command's words, and what is known of it (`KAMAL_…` without the prefix)."""

    words: Sequence[str]
    tags: Mapping[str, str] = field(default_factory=dict)
    destination: str | None = None
    service: str = ""

    @property
    def command(self) -> str:
        """`deploy`, `app boot`."""
        return " ".join(self.words)


class Recorder(Protocol):
    """Takes the story of one command."""

    def line(self, level: str, host: str, text: str) -> None: ...
    def finish(self, seconds: float, error: BaseException | None) -> str:
        """The command has ended; returns a sentence that tells where the record is."""
        ...


@contextmanager
def recorded(
    output: Output,
    run: Run,
    *,
    root: Path,
    console: Console,
    secrets: Callable[[], Sequence[Secret]],
    result: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Record while the block runs. A recorder that fails says so once and never ends the command.

    `result` is what the command has returned by then; an exit code other than 0 is a failure.
    """
    recorders: list[Recorder] = []
    if output.file is not None:
        from deployer.output.file import FileRecorder

        recorders.append(FileRecorder(root / output.file.path, run, console.warn))
    if output.otel is not None:
        from deployer.output.otel import OtelRecorder

        recorders.append(OtelRecorder(output.otel.endpoint, run, console.warn))

    def give_up(recorder: Recorder, error: OSError) -> None:
        # First it goes, as it would hear the warning too. Another thread may have been here.
        with suppress(ValueError):
            recorders.remove(recorder)
            console.warn(f"the output is recorded no further: {error.strerror or error}")

    def hear(level: str, host: str, message: str) -> None:
        for line in redact(message, secrets()).splitlines():
            for recorder in tuple(recorders):
                try:
                    recorder.line(level, host, line)
                except OSError as exc:
                    give_up(recorder, exc)

    started = time.monotonic()
    failure: BaseException | None = None
    with ExitStack() as stack:
        stack.enter_context(console.heard_by(hear))
        try:
            yield
            code = result()
            if isinstance(code, int) and code:
                failure = ExitCode(f"exit code {int(code)}")
                hear("error", "", str(failure))
        except BaseException as exc:
            failure = exc
            hear("error", "", str(exc) or type(exc).__name__)
            for detail in getattr(exc, "details", ()):
                hear("error", "", detail)
            raise
        finally:
            stack.close()
            seconds = time.monotonic() - started
            for recorder in tuple(recorders):
                try:
                    told = recorder.finish(seconds, failure)
                except OSError as exc:
                    give_up(recorder, exc)
                    continue
                if told:
                    console.info(told)
