"""Which architectures are built for which hosts, and what is refused before anything is pulled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer import shipping
from deployer.architectures import builds, of_hosts
from deployer.commands.facts import HostFacts
from deployer.delivery import check_space
from deployer.engine import Engine
from deployer.fleet import Fleet
from deployer.images.request import BuildRequest
from deployer.preview import Preview, preview
from deployer.shipping import Built, Shipping
from deployer.transfer import LocalImage
from freehold.console import Console
from freehold.errors import ConfigError, HostError
from freehold.process import LocalRunner
from freehold.secret import Secret
from tests.unit.deployer import samples

ENGINE = Engine("", "28.0", "amd64", "overlay2", "graph", Path("/d"))


def host(name: str, machine: str, free: int = 1_000_000) -> HostFacts:
    """What a host with such a processor and so many kB free tells."""
    return HostFacts(name, images=f"engine 28.0 {machine}\nstore []\nfree {free}\n")


MIXED = {"web-1": host("web-1", "x86_64"), "web-2": host("web-2", "aarch64")}


def image(arch: str, size: int = 10) -> LocalImage:
    return LocalImage("own/shop:v1", f"sha256:{arch}", (f"layer-{arch}",), arch, size)


@pytest.fixture
def ship(tmp_path: Path) -> Shipping:
    config = samples.config(tmp_path, builder={"arch": ["amd64", "arm64"]})
    return Shipping(config, "v1", tmp_path, LocalRunner(), Console(quiet=True), {})


def test_only_what_some_host_has_is_built(ship: Shipping) -> None:
    config, arches = ship.config, ship.config.builder.arch
    assert of_hosts(config, arches, MIXED) == ("amd64", "arm64")
    assert of_hosts(config, arches, {"web-2": MIXED["web-2"]}) == ("arm64",)
    assert of_hosts(config, arches, None) == arches
    with pytest.raises(ConfigError, match="the hosts are riscv64"):
        of_hosts(config, arches, {"web-1": host("web-1", "riscv64")})


def test_what_is_built_at_once(ship: Shipping) -> None:
    both, each = [("amd64", "arm64")], [("amd64",), ("arm64",)]
    assert builds(ship.config, MIXED, together=True) == both
    assert builds(ship.config, MIXED) == each == builds(ship.config, None)
    assert builds(ship.config, {"web-2": MIXED["web-2"]}) == [("arm64",)]
    # `build dev` is for this computer, where another one's image would take the name last.
    assert builds(ship.config, None, own="amd64") == [("amd64",)]
    assert builds(ship.config, None, own="riscv64") == each
    unnamed = dataclasses.replace(ship.config, builder=dataclasses.replace(ship.config.builder, arch=()))
    assert builds(unnamed, None, own="amd64") == builds(unnamed, MIXED, together=True) == [()]


def test_each_host_is_sent_its_own_image(ship: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Sequence[str]]] = []

    def send(one: LocalImage, known: Mapping[str, HostFacts], **_: object) -> None:
        sent.append((one.arch, list(known)))

    monkeypatch.setattr(shipping, "over_ssh", send)
    built = Built(ship, {arch: (image(arch), ENGINE) for arch in ("amd64", "arm64")})
    done = built.deliver(Fleet({}, Console(quiet=True)))(MIXED)
    assert sent == [("amd64", ["web-1"]), ("arm64", ["web-2"])]
    assert done.image == "own/shop:v1"
    assert built.arches == ("amd64", "arm64")


def test_an_image_that_one_build_made_goes_to_every_host(
    ship: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host of another processor is refused by the plan, which names both."""
    sent: list[tuple[list[str], object]] = []

    def send(one: LocalImage, known: Mapping[str, HostFacts], *, spread: bool, **_: object) -> None:
        sent.append((list(known), spread))

    monkeypatch.setattr(shipping, "over_ssh", send)
    for wanted in (False, True):
        builder = dataclasses.replace(ship.config.builder, spread=wanted)
        asked = dataclasses.replace(ship, config=dataclasses.replace(ship.config, builder=builder))
        Built(asked, {"amd64": (image("amd64"), ENGINE)}).deliver(Fleet({}, Console(quiet=True)))(MIXED)
    assert sent == [(["web-1", "web-2"], False), (["web-1", "web-2"], True)]


@dataclasses.dataclass
class Builds:
    """What was asked of engines: where each group was built, for which files, and what was pushed."""

    on: list[tuple[str | None, str]] = dataclasses.field(default_factory=list)
    dockerfiles: set[Path] = dataclasses.field(default_factory=set)
    pushed: list[tuple[str, ...]] = dataclasses.field(default_factory=list)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Builds:
    found = Builds()

    @contextmanager
    def local(**_: object) -> Iterator[Engine]:
        yield ENGINE

    @contextmanager
    def remote(address: str, **_: object) -> Iterator[Engine]:
        yield dataclasses.replace(ENGINE, host=address, arch="arm64")

    def build(_: object, wanted: BuildRequest, *, engine: Engine, **__: object) -> LocalImage | None:
        found.on.append((wanted.platform, engine.host))
        return image(engine.arch) if wanted.output == "docker" else None

    def bases(dockerfile: Path, **_: object) -> None:
        found.dockerfiles.add(dockerfile)

    def push(references: tuple[str, ...], **_: object) -> None:
        found.pushed.append(references)

    for name, stand_in in (
        *(("local_engine", local), ("remote_engine", remote), ("build_app", build)),
        *(("import_bases", bases), ("push_image", push), ("own_arch", lambda: "amd64")),
    ):
        monkeypatch.setattr(shipping, name, stand_in)
    return found


def test_each_computer_builds_for_its_own_processor(tmp_path: Path, asked: Builds) -> None:
    (tmp_path / "app").mkdir()
    keys = {"context": "app", "remote": "ssh://far", "arch": ["amd64", "arm64"]}
    config = samples.config(tmp_path, builder=keys, registry={"server": "ghcr.io"})
    ship = Shipping(config, "v1", tmp_path, LocalRunner(), Console(quiet=True), {"HOME": str(tmp_path)})
    with ship.built(MIXED) as built:
        assert {arch: engine.host for arch, (_, engine) in built.images.items()} == {
            "amd64": "",
            "arm64": "ssh://far",
        }
    assert asked.on == [(None, ""), (None, "ssh://far")] and asked.pushed == []
    # As for a build by hand, the Dockerfile is not looked for in the context.
    assert asked.dockerfiles == {tmp_path / "Dockerfile"}
    asked.on.clear()
    with dataclasses.replace(ship, registry=True).built() as built:
        assert built.images == {} and built.arches == ("amd64", "arm64")
    assert asked.on == [("linux/amd64,linux/arm64", "")]


def test_another_output_is_not_pushed(tmp_path: Path, asked: Builds) -> None:
    config = samples.config(tmp_path, builder={"context": "."}, registry={"server": "ghcr.io"})
    ship = Shipping(config, "v1", tmp_path, LocalRunner(), Console(quiet=True), {"HOME": str(tmp_path)}, True)
    with dataclasses.replace(ship, output="docker").built():
        assert asked.pushed == []
    with ship.built():
        assert asked.pushed == [("ghcr.io/own/shop:v1", "ghcr.io/own/shop:latest")]


def test_what_a_dry_run_tells_of_builds_and_pushes(tmp_path: Path, asked: Builds) -> None:
    config = samples.config(
        tmp_path,
        builder={"context": ".", "args": {"A": "it's"}, "secrets": ["NPM"], "pack": {"builder": "own/b"}},
        registry={"server": "ghcr.io"},
    )
    quiet = dataclasses.replace(config, secrets=lambda name: Secret(f"[secret {name}]"))
    ship = Shipping(quiet, "v1", tmp_path, LocalRunner(), Console(quiet=True), {"HOME": str(tmp_path)}, True)
    shown = preview(ship, MIXED)
    (build,) = shown.build
    assert build.startswith("pack build ghcr.io/own/shop:v1 ") and "--env NPM " in build
    assert """--env 'A=it'"'"'s'""" in build
    name = "ghcr.io/own/shop"
    assert shown.push == (
        f"docker push {name}:v1",
        f"docker tag {name}:v1 {name}:latest",
        f"docker push {name}:latest",
    )
    # Without buildpacks a Dockerfile is needed, as for the deploy.
    plain = dataclasses.replace(quiet, builder=dataclasses.replace(quiet.builder, pack=None, secrets=()))
    ship = dataclasses.replace(ship, config=plain)
    assert preview(ship, MIXED) == Preview(problem=f"there is no Dockerfile in {tmp_path}")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (build,) = preview(dataclasses.replace(ship, no_cache=True), MIXED).build
    assert build.endswith("--file Dockerfile --label service=shop --build-arg 'A=it'\"'\"'s' --no-cache .")
    assert asked == Builds()


def test_a_disk_that_is_too_small_for_a_pull() -> None:
    small = {"web-1": host("web-1", "x86_64", free=1)}
    check_space(small, [image("amd64", 1024), image("arm64", 10**9)])
    with pytest.raises(HostError, match=r"needs 2\.0 kB, the disk has 1\.0 kB free") as caught:
        check_space(small, [image("amd64", 2048)])
    assert "prune" in caught.value.hint
    there = dataclasses.replace(
        small["web-1"], images=small["web-1"].images + 'image sha256:amd64 ["own/shop:v1"] ["layer-amd64"]\n'
    )
    check_space({"web-1": there}, [image("amd64", 2048)])
