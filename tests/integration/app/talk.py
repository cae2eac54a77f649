"""A visitor with a WebSocket who stays for as long as the other side lets them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deployer.load.client import Connection, Lost
from deployer.load.plan import Target
from tests.integration.app.project import Project
from tests.rig import Host

PAUSE = 0.2
CLOSED = "closed in order"


class Talk:
    """`heard` is what the application said, the last thing last; `ended` how it went away, "" before."""

    def __init__(self, project: Project, host: Host) -> None:
        self._project, self._target = project, Target(host.name, host.address, 80, "shop.test")
        self.heard: list[str] = []
        self.ended = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._talk()), daemon=True)

    @property
    def version(self) -> str:
        """The version that answered last."""
        return self.heard[-1].split()[0] if self.heard[1:] else ""

    @property
    def open(self) -> bool:
        """Two more things that are said are answered."""
        before = len(self.heard)
        self._project.until(lambda: len(self.heard) > before + 1 or bool(self.ended), "an answer")
        return not self.ended

    def start(self) -> None:
        """Connect, and wait for an answer."""
        self._project.rig.control_call(self._thread.start)
        self._project.until(lambda: bool(self.version or self.ended), "the first answer")
        assert not self.ended, self.ended

    def leave(self) -> None:
        """Close the connection."""
        self._over.set()
        self._thread.join()

    async def _talk(self) -> None:
        connection = None
        try:
            connection = await Connection.open(self._target)
            await connection.upgrade("/ws")
            while not self._over.is_set():
                answer = await connection.hear()
                if answer is None:
                    self.ended = CLOSED
                    return
                self.heard.append(answer)
                await asyncio.sleep(PAUSE)
                await connection.say("still here")
        except Lost as exc:
            self.ended = str(exc)
        finally:
            if connection is not None:
                connection.close()


@contextmanager
def talk(project: Project, host: Host) -> Iterator[Talk]:
    """A visitor for as long as the block runs."""
    made = Talk(project, host)
    made.start()
    try:
        yield made
    finally:
        made.leave()
