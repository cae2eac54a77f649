"""What a host has already: one shell fragment that asks, one pure parser that reads the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.engine.engine import ARCHITECTURES, Store, store_of

# Where uploads wait until they are complete; the state directory of a prepared host, else the user's own.
SPOOL = """\
spool=/var/lib/freehold/spool
# One's own: what another user has begun to upload is closed to this one.
if ! { (umask 077; mkdir -p "$spool") && [ -O "$spool" ]; } 2>/dev/null; then
    spool=${XDG_CACHE_HOME:-$HOME/.cache}/freehold/spool
fi
"""

# `docker image inspect` of an image that is removed meanwhile prints the others and fails: no reason to stop.
FACTS = (
    SPOOL
    + """\
info=$(docker info --format '{{.DockerRootDir}}
engine {{.ServerVersion}} {{.Architecture}}
store {{json .DriverStatus}}') || exit 1
printf '%s\\n' "$info"
docker image ls --quiet --no-trunc | sort -u | xargs -r docker image inspect \\
    --format 'image {{.Id}} {{json .RepoTags}} {{json .RootFS.Layers}}' || true
df -Pk "${info%%
*}" 2>/dev/null | awk 'NR == 2 { print "free", $4 }'
if command -v zstd >/dev/null; then echo codec zst; fi
for part in "$spool"/*.part; do
    if [ -f "$part" ]; then echo "part $(stat -c %s "$part") ${part##*/}"; fi
done
"""
)


@dataclass(frozen=True)
class Part:
    """The beginning of an upload that broke off: `size` bytes of the payload that its name tells."""

    name: str
    size: int

    @property
    def payload(self) -> str:
        """Which payload it is the beginning of."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class HostImages:
    """What the facts fragment found. `images` maps an image id to its diffIDs, `tags` a name to an id.

    `free` is in bytes, None where the host did not say.
    """

    version: str
    arch: str
    store: Store
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    free: int | None = None
    zstd: bool = False
    parts: tuple[Part, ...] = ()

    def best_part(self, payload: str) -> Part | None:
        """The longest beginning of a payload, where there is one."""
        found = [part for part in self.parts if part.payload == payload and part.size > 0]
        return max(found, key=lambda part: part.size, default=None)


def parse_facts(output: str) -> HostImages:
    """The answer of FACTS. Lines that it did not print are passed over; ValueError without an engine line."""
    version, arch, store = "", "", "graph"
    images: dict[str, tuple[str, ...]] = {}
    tags: dict[str, str] = {}
    free: int | None = None
    zstd = False
    parts: list[Part] = []
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "engine":
                version, _, machine = rest.partition(" ")
                arch = ARCHITECTURES.get(machine, machine)
            case "store":
                store = store_of(json.loads(rest))
            case "image":
                identity, _, described = rest.partition(" ")
                decoder = json.JSONDecoder()
                names, end = decoder.raw_decode(described)
                layers = json.loads(described[end:])
                images[identity] = tuple(layers or ())
                tags.update(dict.fromkeys(names or (), identity))
            case "free":
                free = int(rest) * 1024
            case "codec":
                zstd = zstd or rest == "zst"
            case "part":
                size, _, name = rest.partition(" ")
                parts.append(Part(name, int(size)))
    if not version:
        raise ValueError("the host told nothing about its Docker Engine")
    return HostImages(
        version=version,
        arch=arch,
        store="containerd" if store == "containerd" else "graph",
        images=images,
        tags=tags,
        free=free,
        zstd=zstd,
        parts=tuple(parts),
    )
