"""The image's way to the hosts: built here and sent over SSH, pulled from a registry, or there already."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

from deployer.commands.facts import HostFacts
from deployer.engine import Engine
from deployer.fleet import Fleet
from deployer.remote import Remote
from deployer.rollout import Delivery
from deployer.spreading import Spreading
from deployer.transfer import LayerStore, LocalImage, Outcome, StreamResult, Transfer, parse_facts
from freehold.console import Console, size
from freehold.errors import HostError
from freehold.paths import cache_dir
from freehold.process import Runner


@dataclass(frozen=True)
class _Line:
    """A host's connection as the transfer wants it."""

    remote: Remote

    @property
    def host(self) -> str:
        return self.remote.name

    def exec_stream(self, command: str, chunks: Iterable[bytes]) -> StreamResult:
        status, output = self.remote.feed(command, chunks)
        return StreamResult(status, output)


def over_ssh(
    image: LocalImage,
    facts: Mapping[str, HostFacts],
    *,
    fleet: Fleet,
    engine: Engine,
    runner: Runner,
    console: Console,
    spread: bool = False,
) -> Delivery:
    """Send the layers that each host lacks, to all hosts at once.

    With `spread`, of several hosts that lack the same only the first is sent it; the others get it there.
    """
    transfer = Transfer(
        image, engine=engine, layers=LayerStore(cache_dir() / "layers"), runner=runner, console=console
    )
    plans = {host: transfer.plan(host, parse_facts(known.images)) for host, known in facts.items()}
    retag = {host: plan.retag for host, plan in plans.items() if plan.retag}
    wanted = [host for host, plan in plans.items() if not plan.present]
    if not wanted:
        console.info(f"  every host has {image.reference}")
        return Delivery(image.reference, retag)
    spreading = Spreading(plans if spread else {}, transfer.payload, fleet, console)
    with closing(spreading), console.board(f"Sending {image.reference}", wanted) as board:
        shown: dict[str, int] = {}
        lock = threading.Lock()

        def send(host: str) -> Outcome:
            def progress(done: int, total: int) -> None:
                percent = 100 * done // max(1, total)
                with lock:
                    if shown.get(host, -10) + 5 > percent:
                        return
                    shown[host] = percent
                board.update(host, f"{percent} % of {size(total)}")

            try:
                plan = spreading.advanced(host, plans[host], lambda text: board.update(host, text))
                with spreading.leading(host):
                    outcome = transfer.send(
                        plan, _Line(fleet[host]), keep=spreading.leads(host), progress=progress
                    )
            except Exception as exc:
                board.fail(host, str(exc).splitlines()[0])
                raise
            board.done(host, f"{outcome.layers} layers, {size(outcome.sent)}")
            return outcome

        fleet.each(wanted, send).all()
    return Delivery(image.reference, retag)


def check_space(facts: Mapping[str, HostFacts], images: Iterable[LocalImage]) -> None:
    """HostError where a host has not the room for an image that it is about to pull."""
    for image in images:
        for host, known in facts.items():
            found = parse_facts(known.images)
            lacks = image.arch == found.arch and image.id not in found.images
            if lacks and found.free is not None and image.size > found.free:
                raise HostError(
                    f"the image needs {size(image.size)}, the disk has {size(found.free)} free",
                    host=host,
                    step="pull",
                    hint="`freehold prune all` removes old images",
                )
