"""Images from a real private engine to real hosts over real SSH, into both kinds of store."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.engine import Engine
from deployer.transfer import (
    HostImages,
    LayerStore,
    LocalImage,
    Transfer,
)
from freehold.console import Console
from freehold.errors import HostError, StepFailed
from tests.integration.app.layers import RUNNER, Line, TwoLayers, two_layers
from tests.rig import Host, Rig

CONSOLE = Console(quiet=True)


@pytest.fixture
def project(tmp_path: Path, engine: Engine) -> TwoLayers:
    return two_layers(tmp_path, engine)


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[LayerStore]:
    with LayerStore(tmp_path / "layers") as store:
        yield store


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
    line: Line, project: TwoLayers, engine: Engine, layers: LayerStore, request: pytest.FixtureRequest
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
    line: Line, project: TwoLayers, engine: Engine, layers: LayerStore
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


def test_an_image_may_be_larger_than_the_cache(
    graph: Line, project: TwoLayers, engine: Engine, layers: LayerStore
) -> None:
    layers.limit = 1
    first = made(project.build("one", "app:v1"), engine, layers)
    assert graph.send(first, graph.plan(first)).layers == 2
    assert graph.plan(first).idle


def test_layers_that_vanish_meanwhile_are_sent_after_all(
    line: Line, project: TwoLayers, engine: Engine, layers: LayerStore
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
    graph: Line, project: TwoLayers, engine: Engine, layers: LayerStore
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


def test_a_full_disk_is_told_before_anything_is_sent(
    graph: Line, project: TwoLayers, engine: Engine, layers: LayerStore
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
    graph: Line, project: TwoLayers, engine: Engine, layers: LayerStore
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
    project: TwoLayers, engine: Engine, tmp_path: Path
) -> None:
    image = project.build("one", "app:v1")
    facts = HostImages(version="20.10.24", arch=engine.arch, store="graph", zstd=True)
    names = []
    for place in (engine, replace(engine, driver="unknown")):
        with LayerStore(tmp_path / place.driver) as layers:
            transfer = made(image, place, layers)
            names.append(transfer.payload(transfer.plan("web-1", facts)).name)
    assert names[0] == names[1]
