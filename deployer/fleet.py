"""Many hosts at once: one thread and one connection each, results by host."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from deployer.config import Sshkit
from deployer.endpoint import Endpoint
from deployer.headstart import HeadStart
from deployer.remote import Remote
from deployer.script import Script, ScriptResult
from deployer.stream import Stopped
from freehold.console import Console
from freehold.errors import FreeholdError

T = TypeVar("T")
MOST_AT_ONCE = 100


@dataclass(frozen=True)
class Answers(Generic[T]):
    """What came back: a value or an error for each host, in the order asked."""

    values: Mapping[str, T]
    errors: Mapping[str, FreeholdError]

    def all(self) -> Mapping[str, T]:
        """The values; raise the first error where there is one."""
        for error in self.errors.values():
            raise error
        return self.values


class Fleet:
    """The hosts of a configuration. Leaving the block closes every connection."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        console: Console,
        bounds: Sshkit | None = None,
        started: Mapping[str, HeadStart] = types.MappingProxyType({}),
    ) -> None:
        bounds = bounds or Sshkit()
        starts = threading.BoundedSemaphore(bounds.max_concurrent_starts)
        self.console = console
        self.cancelled = threading.Event()
        self.lock_lost = threading.Event()
        """Set when the deploy lock is held no longer; `run(watched=True)` then stops."""
        self.lock_host = ""
        self.remotes = {
            name: Remote(
                endpoint,
                debug=console.detail,
                cancelled=self.cancelled,
                starts=starts,
                idle=bounds.pool_idle_timeout,
                started=started.get(name),
            )
            for name, endpoint in endpoints.items()
        }

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for remote in self.remotes.values():
            remote.__exit__(kind, value, trace)

    def connect_ahead(self, *, question: bool = False) -> None:
        """Begin to connect to every host, for work that is to come; see Remote.connect_ahead."""
        for remote in self.remotes.values():
            remote.connect_ahead(question=question)

    def __getitem__(self, host: str) -> Remote:
        return self.remotes[host]

    @property
    def execs(self) -> Mapping[str, int]:
        """SSH exec requests so far, by host."""
        return {name: remote.execs for name, remote in self.remotes.items()}

    def each(
        self, hosts: Iterable[str], work: Callable[[str], T], *, stop: Callable[[], bool] = lambda: False
    ) -> Answers[T]:
        """Call `work(host)` for every host at once and wait for all.

        Once `stop()` says so, scripts that still run are cut off; their hosts answer `Stopped`. Ctrl-C and
        SIGTERM end the waiting: running scripts are cut off, then the signal goes on.
        """
        names = list(hosts)
        values: dict[str, T] = {}
        errors: dict[str, FreeholdError] = {}
        if not names:
            return Answers(values, errors)
        pool = ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, len(names)))
        try:
            futures = {pool.submit(work, name): name for name in names}
            pending = set(futures)
            while pending:
                # A timeout keeps the main thread open to signals.
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, FreeholdError):
                        errors[futures[future]] = error
                    elif error is not None:
                        raise error
                    else:
                        values[futures[future]] = future.result()
                if pending and not self.cancelled.is_set() and stop():
                    self.cancelled.set()
            self.cancelled.clear()
        except BaseException:
            self.cancelled.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self.cancelled.clear()
            raise
        pool.shutdown()
        return Answers(
            {name: values[name] for name in names if name in values},
            {name: errors[name] for name in names if name in errors},
        )

    def run(
        self,
        scripts: Mapping[str, Script],
        title: str,
        *,
        timeout: float,
        together: bool = False,
        watched: bool = False,
    ) -> Answers[ScriptResult]:
        """Run one script per host at once, with a line of progress each; failed steps are results.

        `together`: when one host fails, the others are stopped, as nothing will come of theirs.
        `watched`: all are stopped when the deploy lock is lost.
        """
        failed_one = threading.Event()

        def stop() -> bool:
            return (together and failed_one.is_set()) or (watched and self.lock_lost.is_set())

        with self.console.board(title, list(scripts)) as board:

            def work(host: str) -> ScriptResult:
                script = scripts[host]
                try:
                    result = self.remotes[host].run(
                        script,
                        timeout=timeout,
                        on_event=lambda event: (
                            board.update(host, script.title(event.step)) if event.state == "start" else None
                        ),
                        on_line=lambda step, line: self._line(host, step, line),
                    )
                except Stopped:
                    board.fail(host, "stopped")
                    raise
                except FreeholdError as exc:
                    failed_one.set()
                    board.fail(host, exc.message.removeprefix(f"{host}: "))
                    raise
                failed = result.failed
                if result.ok:
                    board.done(host)
                else:
                    failed_one.set()
                    board.fail(
                        host, script.title(failed.name) if failed else f"exit code {result.returncode}"
                    )
                return result

            return self.each(scripts, work, stop=stop)

    def _line(self, host: str, step: str, line: str) -> None:
        if self.console.verbose:
            self.console.host(host, f"{step}: {line}")
        else:
            self.console.tell("debug", f"{step}: {line}", host)
