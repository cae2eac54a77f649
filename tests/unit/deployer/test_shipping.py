"""Which architectures are built for which hosts, and what is refused before anything is pulled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from deployer import shipping
from deployer.commands.facts import HostFacts
from deployer.delivery import check_space
from deployer.engine import Engine
from deployer.fleet import Fleet
from deployer.rollout import Delivery
from deployer.shipping import Built, Shipping
from deployer.transfer import LocalImage
from freehold.console import Console
from freehold.errors import ConfigError, HostError
from freehold.process import LocalRunner
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
    arches = ship.config.builder.arch
    assert ship._of_hosts(arches, MIXED) == ("amd64", "arm64")
    assert ship._of_hosts(arches, {"web-2": MIXED["web-2"]}) == ("arm64",)
    assert ship._of_hosts(arches, None) == arches
    with pytest.raises(ConfigError, match="the hosts are riscv64"):
        ship._of_hosts(arches, {"web-1": host("web-1", "riscv64")})


def test_each_host_is_sent_its_own_image(ship: Shipping, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Sequence[str]]] = []

    def send(one: LocalImage, known: Mapping[str, HostFacts], **_: object) -> Delivery:
        sent.append((one.arch, list(known)))
        return Delivery(one.reference, dict.fromkeys(known, ("docker", "tag")))

    monkeypatch.setattr(shipping, "over_ssh", send)
    built = Built(ship, {arch: (image(arch), ENGINE) for arch in ("amd64", "arm64")})
    done = built.deliver(Fleet({}, Console(quiet=True)))(MIXED)
    assert sent == [("amd64", ["web-1"]), ("arm64", ["web-2"])]
    assert set(done.retag) == {"web-1", "web-2"} and done.image == "own/shop:v1"
    assert built.arches == ("amd64", "arm64")


def test_an_image_that_one_build_made_goes_to_every_host(
    ship: Shipping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host of another processor is refused by the plan, which names both."""
    sent: list[tuple[list[str], object]] = []

    def send(one: LocalImage, known: Mapping[str, HostFacts], *, spread: bool, **_: object) -> Delivery:
        sent.append((list(known), spread))
        return Delivery(one.reference)

    monkeypatch.setattr(shipping, "over_ssh", send)
    for wanted in (False, True):
        builder = dataclasses.replace(ship.config.builder, spread=wanted)
        asked = dataclasses.replace(ship, config=dataclasses.replace(ship.config, builder=builder))
        Built(asked, {"amd64": (image("amd64"), ENGINE)}).deliver(Fleet({}, Console(quiet=True)))(MIXED)
    assert sent == [(["web-1", "web-2"], False), (["web-1", "web-2"], True)]


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
