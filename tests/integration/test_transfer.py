"""Images from a real private engine to real hosts over real SSH, into both kinds of store."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deployer.commands.facts import HostFacts
from deployer.delivery import over_ssh
from deployer.endpoint import Endpoint
from deployer.engine import Engine, local_engine
from deployer.engine.private import PrivateEngine
from deployer.fleet import Fleet
from deployer.images.build import build_image
from deployer.images.request import BuildRequest
from deployer.remote import Output, Remote
from deployer.transfer import (
    FACTS,
    HostImages,
    LayerStore,
    LocalImage,
    Outcome,
    Plan,
    StreamResult,
    Transfer,
    parse_facts,
)
from deployer.transfer import spread as spreads
from deployer.transfer.payload import Payload
from freehold.console import Console
from freehold.errors import HostError, StepFailed
from freehold.process import LocalRunner
from tests.conftest import reset
from tests.rig import Host, Rig

RUNNER = LocalRunner()
CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Short, as a Unix socket's path has 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="fh-", ignore_cleanup_errors=False) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def engine(rig: Rig, folder: Path) -> Iterator[Engine]:
    """A private engine, started and ended by the product's own helper."""
    assert rig is not None, "the rig says first whether this machine can run such tests"
    private = PrivateEngine(folder / "cache", folder / "run", RUNNER, CONSOLE)
    with private.share() as shared:
        yield shared


@dataclass(frozen=True)
class Project:
    """An application of two layers: a large one that stays, a small one with one line."""

    directory: Path
    engine: Engine

    def build(self, line: str, tag: str) -> LocalImage:
        (self.directory / "app").write_text(f"{line}\n")
        request = BuildRequest(self.directory, (tag,))
        return build_image(request, engine=self.engine, runner=RUNNER, on_line=lambda _: None)


@pytest.fixture
def project(tmp_path: Path, engine: Engine) -> Project:
    (tmp_path / "large").write_bytes(os.urandom(12_000_000))
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY large /large\nCOPY app /app\nCMD ["/app"]\n')
    return Project(tmp_path, engine)


@dataclass(frozen=True)
class Feeder:
    """The connection as the transfer wants it."""

    remote: Remote

    @property
    def host(self) -> str:
        return self.remote.name

    def exec_stream(self, command: str, chunks: Iterable[bytes]) -> StreamResult:
        status, output = self.remote.feed(command, chunks)
        return StreamResult(status, output)


def endpoint_of(rig: Rig, host: Host) -> Endpoint:
    return Endpoint(
        name=host.name,
        address=host.address,
        user=host.user,
        port=host.ssh_port,
        keys=(str(rig.home / ".ssh" / "id_ed25519"),),
        keys_only=True,
        known_hosts=(rig.home / ".ssh" / "known_hosts",),
        only_known=True,
        config_files=(),
    )


class Line:
    """The operator's SSH connection to one host; everything happens inside the control namespace."""

    def __init__(self, rig: Rig, host: Host) -> None:
        self.rig = rig
        self.host = host
        self.remote = Remote(endpoint_of(rig, host))

    def facts(self) -> HostImages:
        output = self.rig.control_call(self.remote.exec, f"bash -c {shlex.quote(FACTS)}")
        assert output.returncode == 0, output.stderr
        return parse_facts(output.stdout)

    def plan(self, transfer: Transfer) -> Plan:
        return transfer.plan(self.host.name, self.facts())

    def send(self, transfer: Transfer, plan: Plan, **options: object) -> Outcome:
        def work() -> Outcome:
            return transfer.send(plan, Feeder(self.remote), **options)  # type: ignore[arg-type]

        return self.rig.control_call(work)

    def close(self) -> None:
        self.remote.close()


@pytest.fixture
def layers(tmp_path: Path) -> LayerStore:
    return LayerStore(tmp_path / "layers")


@pytest.fixture
def graph(rig: Rig, hosts: tuple[Host, Host]) -> Iterator[Line]:
    """A Debian 12 host: Docker 20.10, overlay2."""
    hosts[0].reset(images=True)
    line = Line(rig, hosts[0])
    yield line
    line.close()


@pytest.fixture
def containerd(rig: Rig, trixie: Host) -> Iterator[Line]:
    """A Debian 13 host whose engine keeps images in containerd."""
    path = "/etc/docker/daemon.json"
    before = trixie.read(path)
    options = json.loads(before)
    options["features"] = {"containerd-snapshotter": True}
    trixie.write(path, json.dumps(options))
    trixie.restart_service("docker")
    trixie.reset(images=True)
    line = Line(rig, trixie)
    yield line
    line.close()
    trixie.reset(images=True)
    trixie.write(path, before)
    trixie.restart_service("docker")


def made(image: LocalImage, engine: Engine, layers: LayerStore) -> Transfer:
    return Transfer(image, engine=engine, layers=layers, runner=RUNNER, console=CONSOLE)


@pytest.fixture(params=["graph", "containerd"])
def line(request: pytest.FixtureRequest) -> Line:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Line)
    return found


def test_a_one_line_change_sends_one_layer(
    line: Line, project: Project, engine: Engine, layers: LayerStore, request: pytest.FixtureRequest
) -> None:
    first = made(project.build("one", "app:v1"), engine, layers)
    plan = line.plan(first)
    assert plan.facts.store == request.node.callspec.params["line"]
    assert plan.missing == first.image.layers
    outcome = line.send(first, plan)
    assert outcome.layers == 2 and not outcome.full
    assert line.plan(first).idle

    second = made(project.build("two", "app:v2"), engine, layers)
    plan = line.plan(second)
    assert plan.missing == second.image.layers[1:]
    before = line.remote.execs
    outcome = line.send(second, plan)
    assert line.remote.execs - before == 1
    changed = layers.size(second.image.layers[1])
    assert changed is not None and outcome.sent <= changed * 1.05
    found = line.host.exec(
        "docker image inspect --format '{{json .RootFS.Layers}} {{json .Config.Cmd}}' app:v2"
    )
    assert found.stdout.strip() == json.dumps(list(second.image.layers), separators=(",", ":")) + ' ["/app"]'
    identity = line.host.exec("docker create --pull never app:v2").stdout.strip()
    line.host.exec(f"docker cp {identity}:/app /tmp/app && docker rm {identity}")
    assert line.host.read("/tmp/app") == "two\n"


def test_an_unchanged_image_costs_nothing(
    line: Line, project: Project, engine: Engine, layers: LayerStore
) -> None:
    transfer = made(project.build("one", "app:v1"), engine, layers)
    line.send(transfer, line.plan(transfer))
    plan = line.plan(transfer)
    before = line.remote.execs
    outcome = line.send(transfer, plan)
    assert (line.remote.execs - before, outcome.sent, plan.retag) == (0, 0, ())

    RUNNER.run(("docker", "tag", "app:v1", "app:v1-again"), env=engine.env)
    again = made(replace(transfer.image, reference="app:v1-again"), engine, layers)
    plan = line.plan(again)
    assert plan.present and plan.retag
    line.host.exec(shlex.join(plan.retag), user="deploy")
    assert line.plan(again).idle


def test_layers_that_vanish_meanwhile_are_sent_after_all(
    line: Line, project: Project, engine: Engine, layers: LayerStore
) -> None:
    first = made(project.build("one", "app:v1"), engine, layers)
    line.send(first, line.plan(first))
    second = made(project.build("two", "app:v2"), engine, layers)
    plan = line.plan(second)
    line.host.exec("docker image rm app:v1 && docker image prune --force")
    outcome = line.send(second, plan)
    assert outcome.full and outcome.layers == 2
    assert line.plan(second).idle


def test_a_broken_line_is_continued(
    graph: Line, project: Project, engine: Engine, layers: LayerStore
) -> None:
    transfer = made(project.build("one", "app:v1"), engine, layers)
    plan = graph.plan(transfer)
    total = transfer.payload(plan).total
    cut: list[int] = []

    def progress(done: int, _total: int) -> None:
        if not cut and done > total // 2:
            cut.append(done)
            graph.host.exec("pkill -KILL -u deploy sshd || pkill -KILL -u deploy -f sshd-session")

    outcome = graph.send(transfer, plan, progress=progress, sleep=lambda _: None)
    assert cut and outcome.resumed >= 1 and not outcome.full
    assert outcome.sent < 1.8 * total, "what had arrived is not sent again"
    assert graph.plan(transfer).idle
    assert graph.host.exec("find /var/lib/freehold/spool -type f").stdout == ""


@dataclass(frozen=True)
class Three:
    """Three hosts, on two releases of Debian, that lack everything."""

    rig: Rig
    hosts: tuple[Host, ...]
    project: Project
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
    project: Project,
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


def test_a_full_disk_is_told_before_anything_is_sent(
    graph: Line, project: Project, engine: Engine, layers: LayerStore
) -> None:
    transfer = made(project.build("one", "app:v1"), engine, layers)
    plan = graph.plan(transfer)
    tight = replace(plan, facts=replace(plan.facts, free=20_000_000))
    before = graph.remote.execs
    with pytest.raises(
        HostError, match=r"web-1: image transfer: .* needs 36\.\d MB .* has 20\.0 MB free"
    ) as caught:
        graph.send(transfer, tight)
    assert "prune" in caught.value.hint
    assert graph.remote.execs == before


def test_an_engine_that_stopped_is_told(
    graph: Line, project: Project, engine: Engine, layers: LayerStore
) -> None:
    transfer = made(project.build("one", "app:v1"), engine, layers)
    plan = graph.plan(transfer)
    graph.host.exec("systemctl stop docker.socket docker.service")
    try:
        with pytest.raises(StepFailed, match="the host did not take the image") as caught:
            graph.send(transfer, plan)
    finally:
        graph.host.exec("systemctl start docker.service")
    assert caught.value.host == "web-1" and caught.value.step == "image transfer"
    assert "daemon" in "\n".join(caught.value.details)


def test_files_of_the_engine_and_docker_save_give_the_same(
    project: Project, engine: Engine, tmp_path: Path
) -> None:
    image = project.build("one", "app:v1")
    facts = HostImages(version="20.10.24", arch=engine.arch, store="graph", zstd=True)
    names = []
    for place in (engine, replace(engine, driver="unknown")):
        transfer = made(image, place, LayerStore(tmp_path / place.driver))
        names.append(transfer.payload(transfer.plan("web-1", facts)).name)
    assert names[0] == names[1]


def test_the_private_engine_ends_with_its_last_user(rig: Rig, folder: Path) -> None:
    assert rig is not None
    private = PrivateEngine(folder / "c2", folder / "r2", RUNNER, CONSOLE)
    # Another runtime directory, as under sudo: the storage is what two engines must not share.
    other = PrivateEngine(folder / "c2", folder / "other" / "r2", RUNNER, CONSOLE)
    with private.share() as first:
        pid = private.pid()
        assert pid is not None and first.private
        with other.share() as second:
            assert second == first
            assert other.pid() == pid
        assert private.pid() == pid
    assert private.pid() is None
    assert not Path(f"/proc/{pid}").exists()
    assert str(folder / "r2") not in Path("/proc/self/mountinfo").read_text()


def test_a_private_engine_that_was_killed_is_replaced(rig: Rig, folder: Path) -> None:
    assert rig is not None
    private = PrivateEngine(folder / "c3", folder / "r3", RUNNER, CONSOLE)
    with private.share():
        pid = private.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while private.pid() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    with private.share() as engine:
        assert private.pid() not in (None, pid)
        assert RUNNER.run(("docker", "image", "ls"), env=engine.env).returncode == 0
    assert str(folder / "r3") not in Path("/proc/self/mountinfo").read_text()


def test_the_environment_decides_which_engine(engine: Engine) -> None:
    with local_engine(
        runner=RUNNER, console=CONSOLE, environ={**os.environ, "DOCKER_HOST": engine.host}
    ) as found:
        assert found == replace(engine, private=False)
