"""Driving the load: one event loop in one thread, requests at a constant rate whatever the answers take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType

from deployer.load.client import Answer, Connection, Lost
from deployer.load.plan import LoadPlan, Target
from deployer.load.report import Failure, Kind, LoadReport, Served, Tally

VERSION_HEADER = "x-version"
SAY_SECONDS = 0.5


class Load:
    """A load run: `with Load(plan) as load: deploy()`, then `load.report()`.

    The thread is started in `start`, so it lives in the network namespace of whoever calls that.
    """

    def __init__(self, plan: LoadPlan, *, on_failure: Callable[[Failure], None] | None = None) -> None:
        self.plan = plan
        self._on_failure = on_failure
        self._tally = Tally()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = 0.0
        self._ended: float | None = None
        self._trouble: BaseException | None = None

    def start(self) -> None:
        """Begin; the first requests leave at once."""
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> LoadReport:
        """End: no new requests, those under way are waited for. An error of the generator is raised here."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._trouble is not None:
            raise self._trouble
        return self.report()

    def wait(self) -> LoadReport:
        """Wait until the planned seconds are over."""
        if self._thread is not None:
            self._thread.join()
        return self.stop()

    def report(self) -> LoadReport:
        """What was seen so far, or all of it after `stop`."""
        return self._tally.report((self._ended or time.monotonic()) - self._started)

    @property
    def now(self) -> float:
        """Seconds since the start: the clock of the report."""
        return time.monotonic() - self._started

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as exc:
            self._trouble = exc
        finally:
            self._ended = time.monotonic()

    async def _main(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, target in enumerate(self.plan.targets):
                # Not all in the same instant: a host sees the load of a crowd, not of a drum.
                delay = number / max(1, len(self.plan.targets)) / self.plan.rate
                group.create_task(self._requests(target, delay))
                if self.plan.websocket:
                    group.create_task(self._websocket(target))

    @property
    def _over(self) -> bool:
        planned = self.plan.seconds
        return self._stop.is_set() or (planned is not None and self.now >= planned)

    async def _requests(self, target: Target, delay: float) -> None:
        plan = self.plan
        idle: list[Connection] = []
        async with asyncio.TaskGroup() as group:
            began = asyncio.get_running_loop().time() + delay
            number = 0
            while not self._over:
                due = began + number / plan.rate
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                if self._over:
                    break
                number += 1
                if plan.slow_every and number % plan.slow_every == 0:
                    group.create_task(
                        self._one(target, "slow", plan.slow_path.format(seconds=plan.slow_seconds), None)
                    )
                elif plan.fresh_every and number % plan.fresh_every == 0:
                    group.create_task(self._one(target, "fresh", plan.path, None))
                else:
                    group.create_task(self._one(target, "kept", plan.path, idle))
        for connection in idle:
            connection.close()

    async def _one(self, target: Target, kind: Kind, path: str, idle: list[Connection] | None) -> None:
        began = self.now
        extra = self.plan.slow_seconds if kind == "slow" else 0.0
        try:
            async with asyncio.timeout(self.plan.timeout + extra):
                connection = idle.pop() if idle else await Connection.open(target)
                try:
                    answer = await connection.get(path, keep=idle is not None)
                except BaseException:
                    connection.close()
                    raise
            self._judge(target, kind, began, answer)
            if idle is not None and connection.reusable:
                idle.append(connection)
            else:
                connection.close()
        except Lost as exc:
            self._failed(began, target, kind, str(exc))
        except TimeoutError:
            self._failed(began, target, kind, f"no answer in {self.plan.timeout + extra:g} s")

    def _judge(self, target: Target, kind: Kind, began: float, answer: Answer) -> None:
        if not 200 <= answer.status < 300:
            raise Lost(f"status {answer.status}: {answer.body[:80].decode(errors='replace').strip()}")
        version = answer.headers.get(VERSION_HEADER, "")
        self._tally.answers.append(Served(began, target.name, kind, self.now - began, version))

    def _failed(self, at: float, target: Target, kind: Kind, cause: str) -> None:
        failure = Failure(at, target.name, kind, cause)
        self._tally.failures.append(failure)
        if self._on_failure is not None:
            self._on_failure(failure)

    async def _websocket(self, target: Target) -> None:
        """Keep one WebSocket open; one that the server closes in order is opened again at once."""
        first = True
        while not self._over:
            began = self.now
            try:
                await self._talk(target, first)
            except Lost as exc:
                self._failed(began, target, "websocket", str(exc))
                await asyncio.sleep(SAY_SECONDS)
            except TimeoutError:
                self._failed(began, target, "websocket", f"no message in {self.plan.timeout:g} s")
            first = False

    async def _talk(self, target: Target, first: bool) -> None:
        async with asyncio.timeout(self.plan.timeout):
            connection = await Connection.open(target)
            await connection.upgrade(self.plan.websocket_path)
        if not first:
            self._tally.reopened += 1
        try:
            while not self._over:
                async with asyncio.timeout(self.plan.timeout):
                    await connection.say("ping")
                    if await connection.hear() is None:
                        return
                self._tally.messages += 1
                await asyncio.sleep(SAY_SECONDS)
        finally:
            connection.close()
