"""What a host has of accessories, and the pull of an image that it has not."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.commands import docker, layout
from deployer.commands.registry import Access, logged_in
from deployer.config import Accessory
from deployer.script import Step

PULLED, REFUSED = "pulled", "refused"


@dataclass(frozen=True)
class Found:
    """An accessory on a host: `state` is empty where it has no container; `image` is the id of its image."""

    state: str = ""
    status: str = ""
    container_image: str = ""
    created: str = ""
    image: str = ""
    network: bool = False
    """It is in the network of the application."""


def look_step(accessories: Sequence[Accessory]) -> Step:
    """Which containers and images of these accessories a host has."""
    fields = ("{{.State}}", "{{.Status}}", "{{.Image}}", "{{.RunningFor}}", "{{.Networks}}")
    lines = []
    for item in accessories:
        shown = "\t".join(("container", item.name, *fields))
        ps = ["docker", "ps", "--all", "--filter", docker.named(item.service), "--format", shown]
        lines.append(shlex.join(ps))
        inspect = shlex.join(["docker", "image", "inspect", "--format", "{{.Id}}", item.image])
        lines.append(
            f"if id=$({inspect} 2>/dev/null); then "
            f'printf "image\\t%s\\t%s\\n" {shlex.quote(item.name)} "$id"; fi'
        )
    return Step("accessories", "\n".join(lines), "which accessories it has")


def parse_look(lines: Sequence[str]) -> Mapping[str, Found]:
    """The answer of `look_step` by the name of the accessory."""
    found: dict[str, Found] = {}
    for line in lines:
        kind, _, rest = line.partition("\t")
        name, *cells = rest.split("\t")
        known = found.get(name, Found())
        if kind == "container" and len(cells) == 5:
            state, status, image, created, networks = cells
            found[name] = dataclasses.replace(
                known,
                state=state,
                status=status,
                container_image=image,
                created=created,
                network=layout.NETWORK in networks.split(","),
            )
        elif kind == "image" and len(cells) == 1:
            found[name] = dataclasses.replace(known, image=cells[0])
    return found


def pull_step(accessory: Accessory, login: Access | None = None) -> Step:
    """Pull its image and say how it went.

    A pull that fails fails no step: the image may come from elsewhere.
    """
    pull = logged_in(shlex.join(["docker", "pull", "--quiet", accessory.image]) + " 2>&1", login)
    shell = f"""set +e
said=$(
{pull}
)
status=$?
set -e
if [ $status = 0 ]; then echo {PULLED}; else printf '%s\\n{REFUSED}\\n' "$said"; fi"""
    return Step(f"pull-{accessory.name}", shell, f"pull {accessory.image}")
