"""Delivering an image to hosts over SSH, without a registry.

Only the layers that a host lacks travel, in one command. A break is continued where it broke; a
host that cannot use the partial archive after all is sent the whole one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from deployer.engine import Engine
from deployer.transfer import archive
from deployer.transfer.codec import Codec, choose, packed
from deployer.transfer.export import Exporter
from deployer.transfer.facts import FACTS, HostImages, parse_facts
from deployer.transfer.image import LocalImage
from deployer.transfer.layers import LayerStore
from deployer.transfer.payload import Payload
from deployer.transfer.plan import Plan, make_plan
from deployer.transfer.remote import Delivery, ending, receive_command
from freehold.console import Console, size
from freehold.errors import ConnectError, HostError, StepFailed
from freehold.process import Runner

STEP = "image transfer"
ATTEMPTS = 5


@dataclass(frozen=True)
class StreamResult:
    """A remote command that ended: its exit code, and what it printed on both streams."""

    returncode: int
    output: str


class Channel(Protocol):
    """One host's SSH connection."""

    @property
    def host(self) -> str: ...

    def exec_stream(self, command: str, chunks: Iterable[bytes]) -> StreamResult:
        """Run `command` with `chunks` on its standard input, then end of file.

        Connects where there is no connection. A command that ends before it read everything is a
        result. ConnectError: the connection could not be made or broke.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """What a delivery took: bytes that went out over all attempts, layers sent, breaks survived.

    `full`: the host could not use the partial archive, so the whole image travelled. Seconds.
    """

    host: str
    sent: int
    layers: int
    resumed: int
    full: bool
    seconds: float


class Transfer:
    """One image of one engine, delivered to any number of hosts. Safe to use from several threads."""

    def __init__(
        self, image: LocalImage, *, engine: Engine, layers: LayerStore, runner: Runner, console: Console
    ) -> None:
        self.image = image
        self._exporter = Exporter(engine, layers, runner, console)
        self._runner = runner
        self._console = console

    def plan(self, host: str, facts: HostImages) -> Plan:
        """What this host needs. HostError: wrong processor. BuildError: the local engine fails."""
        return make_plan(host, self.image, facts, frozenset({self._identity(facts)}))

    def _identity(self, facts: HostImages) -> str:
        """The id under which the host's store keeps the image."""
        config = self._exporter.config(self.image)
        if facts.store == "graph":
            return archive.digest(config)
        sizes = self._exporter.sizes(self.image, choose(facts.zstd, self._runner))
        return archive.digest(archive.oci_manifest(config, self.image.layers, sizes))

    def payload(self, plan: Plan, *, full: bool = False) -> Payload:
        """The bytes for a host: the layers it lacks, or all."""
        codec = choose(plan.facts.zstd, self._runner)
        wanted = tuple(dict.fromkeys(self.image.layers)) if full else plan.missing
        layers = self._exporter.layers(self.image, wanted, codec)
        config = self._exporter.config(self.image)
        sizes = self._exporter.sizes(self.image, codec) if plan.facts.store == "containerd" else {}
        head = archive.head(plan.facts.store, self.image.reference, config, self.image.layers, sizes)
        return Payload(
            head=packed(codec, head),
            layers=tuple(layers[diff_id] for diff_id in wanted),
            tail=packed(codec, archive.END),
        )

    def send(
        self,
        plan: Plan,
        channel: Channel,
        *,
        keep: bool = False,
        progress: Callable[[int, int], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Outcome:
        """Deliver to one host; `progress(done, total)` counts bytes. Nothing where `plan.present`.

        `keep`: the host keeps the missing layers as a file, for others that lack the same.

        HostError: no room on its disk. StepFailed: it does not take the image. ConnectError: the
        connection broke too often; the next call goes on where this one ended.
        """
        started = time.monotonic()
        if plan.present:
            return Outcome(plan.host, 0, 0, 0, False, 0.0)
        attempt = _Attempts(self, plan, channel, progress, sleep)
        partial = self.payload(plan)
        whole = set(plan.missing) >= set(self.image.layers)
        used, full = partial, whole
        problem = attempt.deliver(partial, keep=keep)
        if problem is not None and not whole:
            self._console.detail(
                f"{plan.host}: sending all layers, as the missing ones did not do: {problem}"
            )
            used, full = self.payload(plan, full=True), True
            problem = attempt.deliver(used)
        if problem is not None:
            raise StepFailed(
                "the host did not take the image",
                host=plan.host,
                step=STEP,
                returncode=1,
                output=problem,
                hint="see `systemctl status docker` and `df` on the host",
            )
        return Outcome(
            host=plan.host,
            sent=attempt.sent,
            layers=len(used.layers),
            resumed=attempt.resumed,
            full=full and not whole,
            seconds=time.monotonic() - started,
        )


def check_room(plan: Plan, payload: Payload) -> None:
    """HostError where the host's disk cannot hold the archive, its unpacked copy and the layers."""
    need = payload.total + 2 * payload.raw
    free = plan.facts.free
    if free is not None and need > free:
        raise HostError(
            f"the image needs {size(need)} while it is loaded, the disk has {size(free)} free",
            host=plan.host,
            step=STEP,
            hint="`freehold prune all` removes old images",
        )


class _Attempts:
    """The attempts of one delivery: counts bytes, goes on after breaks."""

    def __init__(
        self,
        transfer: Transfer,
        plan: Plan,
        channel: Channel,
        progress: Callable[[int, int], None] | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._image = transfer.image
        self._console = transfer._console
        self._codec: Codec = choose(plan.facts.zstd, transfer._runner)
        self._plan = plan
        self._channel = channel
        self._progress = progress
        self._sleep = sleep
        self._trouble: Exception | None = None
        self.sent = 0
        self.resumed = 0

    def deliver(self, payload: Payload, *, keep: bool = False) -> str | None:
        """Send until it is there; None, or what the host printed when it refused it."""
        check_room(self._plan, payload)
        delivery = Delivery(
            reference=self._image.reference,
            identities=sorted(self._plan.identities),
            layers=self._image.layers,
            payload=payload.name,
            total=payload.total,
            decoder=self._codec.decoder,
            check_usable=self._plan.facts.store == "containerd",
            keep=keep,
        )
        facts = self._plan.facts
        fruitless = 0
        while True:
            part = facts.best_part(payload.name)
            offset = min(part.size, payload.total) if part is not None else 0
            attempt = replace(delivery, part=part.name if part is not None else "", offset=offset)
            before = self.sent
            broken: ConnectError | None = None
            try:
                result = self._channel.exec_stream(receive_command(attempt), self._count(payload, offset))
            except ConnectError as exc:
                broken = exc
            else:
                if self._trouble is not None:
                    raise self._trouble
                kind = ending(result.returncode)
                if kind == "done":
                    return None
                if kind != "broken":
                    return result.output
                broken = ConnectError("the upload was cut off", host=self._plan.host, step=STEP)
                broken.details = tuple(result.output.splitlines()[-5:])
            fruitless = 0 if self.sent - before > payload.total // 50 else fruitless + 1
            if fruitless >= ATTEMPTS:
                raise broken
            facts = self._again(broken, fruitless)
            self.resumed += 1

    def _again(self, broken: ConnectError, tries: int) -> HostImages:
        """The host's facts after a break: what arrived is there. The ConnectError where it stays away."""
        self._console.detail(f"{self._plan.host}: the transfer broke ({broken.message}); going on")
        for attempt in range(tries, ATTEMPTS):
            if attempt:
                self._sleep(min(2.0 ** (attempt - 1), 10.0))
            try:
                result = self._channel.exec_stream(FACTS, ())
            except ConnectError as exc:
                broken = exc
                continue
            if result.returncode == 0:
                return parse_facts(result.output)
        raise broken

    def _count(self, payload: Payload, offset: int) -> Iterable[bytes]:
        try:
            for chunk in payload.chunks(offset):
                yield chunk
                self.sent += len(chunk)
                offset += len(chunk)
                if self._progress is not None:
                    self._progress(offset, payload.total)
        except Exception as exc:
            # The reader of these chunks lives in a thread of the connection, where nobody would see it;
            # an early end lets the host's script finish, and `deliver` raises this.
            self._trouble = exc
