from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.transfer import HostImages, LocalImage
from deployer.transfer.plan import chain_prefix, make_plan, missing_layers
from freehold.errors import HostError

IMAGE = LocalImage("app:v2", "sha256:v2", ("sha256:a", "sha256:b", "sha256:c"), "amd64", 10)
BARE = HostImages(version="20.10.24", arch="amd64", store="graph")
IDS = frozenset({"sha256:v2"})


def host(images: dict[str, tuple[str, ...]], **changes: object) -> HostImages:
    return replace(BARE, images=images, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("others", "count"),
    [
        ([], 0),
        ([("sha256:a",)], 1),
        ([("sha256:a", "sha256:b", "sha256:x")], 2),
        ([("sha256:b", "sha256:c")], 0),
        ([("sha256:x",), ("sha256:a", "sha256:b", "sha256:c", "sha256:d")], 3),
    ],
)
def test_common_beginning(others: list[tuple[str, ...]], count: int) -> None:
    assert chain_prefix(IMAGE.layers, others) == count


def test_a_bare_host_lacks_all_layers() -> None:
    plan = make_plan("web-1", IMAGE, BARE, IDS)
    assert plan.missing == IMAGE.layers
    assert not plan.present and not plan.idle


def test_a_graph_driver_counts_only_a_common_beginning() -> None:
    facts = host({"sha256:v1": ("sha256:x", "sha256:b", "sha256:c"), "sha256:base": ("sha256:a",)})
    assert missing_layers(IMAGE.layers, facts) == ("sha256:b", "sha256:c")


def test_containerd_counts_each_layer_wherever_it_lies() -> None:
    facts = host({"sha256:v1": ("sha256:x", "sha256:c")}, store="containerd")
    assert missing_layers(IMAGE.layers, facts) == ("sha256:a", "sha256:b")


def test_a_layer_that_occurs_twice_travels_once_into_containerd() -> None:
    facts = host({}, store="containerd")
    assert missing_layers(("sha256:a", "sha256:b", "sha256:a"), facts) == ("sha256:a", "sha256:b")


def test_nothing_to_do() -> None:
    plan = make_plan("web-1", IMAGE, host({"sha256:v2": IMAGE.layers}, tags={"app:v2": "sha256:v2"}), IDS)
    assert plan.idle and plan.missing == ()


@pytest.mark.parametrize("tags", [{}, {"app:v1": "sha256:v2"}, {"app:v2": "sha256:other"}])
def test_the_same_image_under_another_name_is_only_tagged(tags: dict[str, str]) -> None:
    plan = make_plan("web-1", IMAGE, host({"sha256:v2": IMAGE.layers}, tags=tags), IDS)
    assert plan.present and not plan.idle
    assert plan.retag == ("docker", "tag", "sha256:v2", "app:v2")


def test_docker_prints_short_names() -> None:
    image = replace(IMAGE, reference="docker.io/library/app:v2")
    assert make_plan("h", image, host({"sha256:v2": ()}, tags={"app:v2": "sha256:v2"}), IDS).idle


def test_another_processor_is_refused() -> None:
    with pytest.raises(HostError, match="built for amd64, this host is arm64") as caught:
        make_plan("web-1", IMAGE, replace(BARE, arch="arm64"), IDS)
    assert caught.value.host == "web-1" and "builder.arch" in caught.value.hint


def test_the_same_layers_with_another_configuration_are_another_image() -> None:
    plan = make_plan("web-1", IMAGE, host({"sha256:old": IMAGE.layers}), IDS)
    assert not plan.present and plan.missing == ()
