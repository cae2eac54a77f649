"""One image for several hosts: sent once, and spread from there."""

from __future__ import annotations

import io
import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deployer.commands.facts import HostFacts
from deployer.delivery import over_ssh
from deployer.engine import Engine
from deployer.fleet import Fleet
from deployer.remote import Output
from deployer.transfer import FACTS, LocalImage
from deployer.transfer import spread as spreads
from deployer.transfer.payload import Payload
from freehold.console import Console
from freehold.errors import StepFailed
from tests.conftest import reset
from tests.integration.app.layers import RUNNER, TwoLayers, endpoint_of, two_layers
from tests.rig import Host, Rig


@pytest.fixture
def project(tmp_path: Path, engine: Engine) -> TwoLayers:
    return two_layers(tmp_path, engine)


@dataclass(frozen=True)
class Three:
    """Three hosts, on two releases of Debian, that lack everything."""

    rig: Rig
    hosts: tuple[Host, ...]
    project: TwoLayers
    fleet: Fleet
    console: Console

    def deliver(
        self, line: str, *, spread: bool, meanwhile: Callable[[], object] = lambda: None
    ) -> tuple[LocalImage, int]:
        """A new image of 12 MB to all three; the bytes that left the operator's computer meanwhile."""
        (self.project.directory / "large").write_bytes(os.urandom(12_000_000))
        image = self.project.build(line, f"app:{line}")

        def work() -> int:
            asked = self.fleet.each(
                [host.name for host in self.hosts],
                lambda name: self.fleet[name].exec(f"bash -c {shlex.quote(FACTS)}").stdout,
            )
            facts = {name: HostFacts(name, images=text) for name, text in asked.all().items()}
            meanwhile()
            before = left()
            over_ssh(
                image,
                facts,
                fleet=self.fleet,
                engine=self.project.engine,
                runner=RUNNER,
                console=self.console,
                spread=spread,
            )
            return left() - before

        return image, self.rig.control_call(work)

    def have(self, image: LocalImage) -> list[bool]:
        """Whether each host has just that image."""
        look = f"docker image inspect --format '{{{{json .RootFS.Layers}}}}' {image.reference} || true"
        return [
            host.exec(look).stdout.strip() == json.dumps(list(image.layers), separators=(",", ":"))
            for host in self.hosts
        ]

    def traces(self) -> str:
        """What a delivery has left on the hosts: nothing."""
        look = (
            "find /var/lib/freehold/spool -type f; cat /home/deploy/.ssh/authorized_keys2 2>/dev/null || true"
        )
        return "".join(host.exec(look).stdout for host in self.hosts)


def left() -> int:
    """Bytes that this thread's network has sent to others so far."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    rows = [line.replace(":", " ").split() for line in lines]
    return sum(int(row[9]) for row in rows if row[0] != "lo")


@pytest.fixture
def three(
    rig: Rig,
    hosts: tuple[Host, Host],
    trixie: Host,
    project: TwoLayers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Three]:
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path / "cache"))
    every = (*hosts, trixie)
    reset(*every, images=True)
    console = Console(out=io.StringIO(), err=io.StringIO())
    with Fleet({host.name: endpoint_of(rig, host) for host in every}, console) as fleet:
        yield Three(rig, every, project, fleet, console)


def said(console: Console) -> str:
    assert isinstance(console.err, io.StringIO) and isinstance(console.out, io.StringIO)
    return console.err.getvalue() + console.out.getvalue()


def test_layers_are_sent_once_and_spread_from_there(three: Three) -> None:
    image, direct = three.deliver("direct", spread=False)
    assert three.have(image) == [True] * 3
    image, spread = three.deliver("spread", spread=True)
    assert three.have(image) == [True] * 3, said(three.console)
    assert 36_000_000 < direct < 40_000_000 and 12_000_000 < spread < 14_000_000, (direct, spread)
    assert three.traces() == ""

    # A host that does not reach the first is sent its own.
    first, second, third = three.hosts
    third.exec(f"ip route add blackhole {first.address}/32")
    try:
        image, some = three.deliver("cut", spread=True)
    finally:
        third.exec(f"ip route del blackhole {first.address}/32")
    assert three.have(image) == [True] * 3 and 24_000_000 < some < 27_000_000, some
    assert f"{third.name} got nothing from {first.name}" in " ".join(said(three.console).split())

    # The key opens one file, whatever is asked; a file that is another is not taken.
    own = "ssh-ed25519 AAAA someone"
    first.exec(f"install -o deploy -m 600 /dev/stdin /home/deploy/.ssh/authorized_keys2 <<<'{own}'")
    payload = Payload(b"head", (), b"tail")
    first.exec(f"cd /var/lib/freehold/spool && printf headtail >{payload.name}.seed", user="deploy")
    once = spreads.make_once()

    def on(host: Host, script: str) -> Output:
        return three.rig.control_call(lambda: three.fleet[host.name].exec("bash -s", stdin=script.encode()))

    assert on(first, spreads.offer(payload.name, once)).returncode == 0
    reached = three.rig.control_call(three.fleet[first.name].reached)
    good = spreads.fetch(payload, spreads.digest(payload.chunks()), once, reached)
    done = on(second, good.replace(f"-- {first.address}", f"-- {first.address} id"))
    assert spreads.fetched(done.stdout, payload) is not None, done
    assert "the digest is another" in on(second, spreads.fetch(payload, "0" * 64, once, reached)).stderr
    other = replace(reached, host_key=f"ssh-ed25519 {second.known_hosts.split()[2]}")
    assert "Host key verification failed" in on(second, good.replace(reached.host_key, other.host_key)).stderr
    on(first, spreads.withdraw(payload.name, once))
    assert "Permission denied" in on(second, good).stderr
    assert "seed" not in three.traces() and own in three.traces()
    first.exec("rm /home/deploy/.ssh/authorized_keys2")


def test_where_the_first_host_fails_the_others_wait_for_nothing(three: Three) -> None:
    first = three.hosts[0]
    try:
        with pytest.raises(StepFailed) as caught:
            three.deliver(
                "never",
                spread=True,
                meanwhile=lambda: first.exec("systemctl stop docker.socket docker.service"),
            )
    finally:
        first.exec("systemctl start docker.service")
    assert caught.value.host == three.hosts[0].name
    assert three.traces() == ""
