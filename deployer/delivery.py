"""The image's way to the hosts: built here and sent over SSH, pulled from a registry, or there already."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

from deployer.commands.facts import HostFacts
from deployer.engine import Engine
from deployer.fleet import Fleet
from deployer.remote import Remote
from deployer.report import must
from deployer.script import Script, Step
from deployer.spreading import Spreading
from deployer.transfer import LayerStore, LocalImage, Outcome, Plan, StreamResult, Transfer, parse_facts
from freehold.console import Console, size
from freehold.errors import HostError
from freehold.paths import cache_dir
from freehold.process import Runner

TAG_TIMEOUT = 60.0


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
) -> None:
    """Have the image on all hosts, under its name: send the layers that each one lacks, to all at once.

    With `spread`, of several hosts that lack the same only the first is sent it; the others get it there.
    """
    with LayerStore(cache_dir() / "layers") as layers:
        transfer = Transfer(image, engine=engine, layers=layers, runner=runner, console=console)
        plans = {host: transfer.plan(host, parse_facts(known.images)) for host, known in facts.items()}
        wanted = {host: plan for host, plan in plans.items() if not plan.present}
        if wanted:
            _send(transfer, wanted, fleet, console, spread=spread)
    named = {
        host: Script((Step("tag", shlex.join(plan.retag), f"name {image.reference}"),))
        for host, plan in plans.items()
        if plan.retag
    }
    if named:
        must(named, fleet.run(named, f"Naming {image.reference}", timeout=TAG_TIMEOUT), "images")
    if not wanted:
        console.info(f"  every host has {image.reference}")


def _send(
    transfer: Transfer, plans: Mapping[str, Plan], fleet: Fleet, console: Console, *, spread: bool
) -> None:
    spreading = Spreading(plans if spread else {}, transfer.payload, fleet, console)
    with closing(spreading), console.board(f"Sending {transfer.image.reference}", list(plans)) as board:
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

        fleet.each(plans, send).all()


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
