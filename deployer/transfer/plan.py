"""What has to travel to one host: pure, from the image and the host's facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deployer.transfer.facts import HostImages
from deployer.transfer.image import LocalImage, familiar
from freehold.errors import HostError


@dataclass(frozen=True)
class Plan:
    """What one host needs. `missing` are diffIDs, the lowest layer first.

    `present`: the image is there (nothing travels). `retag` is a command for the host where it is
    there under other names only; empty where there is nothing to do.
    """

    host: str
    image: LocalImage
    facts: HostImages
    identities: frozenset[str]
    present: bool
    retag: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def idle(self) -> bool:
        """Nothing to do on this host, not even a tag."""
        return self.present and not self.retag


def chain_prefix(layers: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> int:
    """How many of `layers`, counted from the lowest, some other image begins with."""
    best = 0
    for other in others:
        count = 0
        for mine, theirs in zip(layers, other, strict=False):
            if mine != theirs:
                break
            count += 1
        best = max(best, count)
    return best


def missing_layers(layers: tuple[str, ...], facts: HostImages) -> tuple[str, ...]:
    """The layers that have to travel.

    A graph driver knows a layer by all that lies below it, so only a common beginning counts.
    containerd keeps each layer's archive by its own digest, wherever it lies.
    """
    if facts.store == "graph":
        return layers[chain_prefix(layers, facts.images.values()) :]
    held = {layer for image in facts.images.values() for layer in image}
    return tuple(dict.fromkeys(layer for layer in layers if layer not in held))


def make_plan(host: str, image: LocalImage, facts: HostImages, identities: frozenset[str]) -> Plan:
    """The plan for one host; `identities` are the ids under which its store would keep the image.

    HostError: the image is for another processor.
    """
    if facts.arch and image.arch != facts.arch:
        raise HostError(
            f"the image {image.reference} is built for {image.arch}, this host is {facts.arch}",
            host=host,
            step="image",
            hint=f"set `builder.arch: {facts.arch}` in config/deploy.yml",
        )
    found = next((identity for identity in sorted(identities) if identity in facts.images), None)
    tagged = facts.tags.get(familiar(image.reference)) or facts.tags.get(image.reference)
    retag: tuple[str, ...] = ()
    if found is not None and tagged != found:
        retag = ("docker", "tag", found, image.reference)
    return Plan(
        host=host,
        image=image,
        facts=facts,
        identities=identities,
        present=found is not None,
        retag=retag,
        missing=() if found is not None else missing_layers(image.layers, facts),
    )
