"""A buildx builder beside the engine's own: its name, what makes it, what its BuildKit is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.engine.registries import Registries

NAME = "freehold"
CONTAINER = "docker-container"
CERTIFICATES = Path("/etc/docker/certs.d")


@dataclass(frozen=True)
class Node:
    """An engine that has a part in a builder; without `endpoint` the one that the client reaches.

    `platforms` are the only ones that it builds, where there are any. `network` is the one of the
    container that BuildKit runs in.
    """

    endpoint: str = ""
    platforms: tuple[str, ...] = ()
    network: str = ""


@dataclass(frozen=True)
class Builder:
    """`driver` as in the file; `engine` tells whose builder it is; `wanted_by` is the key that needs it.

    `settings` are what BuildKit reads about registries, which it does not ask its engine for.
    """

    driver: str
    engine: str
    wanted_by: str
    nodes: tuple[Node, ...] = (Node(),)
    settings: str = ""

    @property
    def kind(self) -> str:
        """buildx's own name of the driver."""
        return self.driver.split()[0]

    @property
    def family(self) -> str:
        """What the names of all builders of this engine begin with, whatever they have been told."""
        if self.kind == "cloud":
            # As buildx calls it.
            return self.driver.replace(" ", "-").replace("/", "-")
        # buildx keeps to the engine that a builder was made on: each engine needs one of its own.
        engines = (self.engine, *(f"{node.endpoint} {node.platforms}" for node in self.nodes))
        return f"{NAME}-{self.kind}-{_short(' '.join(engines))}"

    @property
    def name(self) -> str:
        """What buildx calls it. Other settings make another builder, as one that is there is not changed."""
        return self.family + (f"-{_short(self.settings)}" if self.settings else "")

    def owns(self, name: str) -> bool:
        """Whether a builder of that name is this one, or was before the settings changed."""
        return name == self.family or (self.kind != "cloud" and name.startswith(f"{self.family}-"))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def create_argvs(builder: Builder, settings: Path | None) -> tuple[tuple[str, ...], ...]:
    """The commands that make a builder, in their order; `settings` is the file with them."""
    named = () if builder.kind == "cloud" else ("--name", builder.name)
    found = []
    for number, node in enumerate(builder.nodes):
        words = ["docker", "buildx", "create", *named, *(("--append",) if number else ())]
        words += ["--driver", *builder.driver.split()]
        words += ["--platform", ",".join(node.platforms)] if node.platforms else []
        words += ["--driver-opt", f"network={node.network}"] if node.network else []
        # Its name before buildx 0.13, which later ones still know.
        words += ["--config", str(settings)] if settings else []
        found.append((*words, *((node.endpoint,) if node.endpoint else ())))
    return tuple(found)


def buildkit_settings(registries: Registries, server: str, certificates: Mapping[str, Sequence[Path]]) -> str:
    """buildkitd.toml, by which a BuildKit in a container knows the registries that its engine knows.

    `server` is the application's registry, which may lie in a network without TLS. `certificates`:
    what lies below certs.d, by host and port. Nothing where there is nothing to tell.
    """
    mirrors = {url.partition("://")[2].strip("/"): url for url in registries.mirrors}
    plain = {url.partition("/")[0] for url, whole in mirrors.items() if whole.startswith("http://")}
    plain |= {entry for entry in registries.insecure if "/" not in entry}
    plain |= {server} if server and registries.trusts(server) else set()
    sections: dict[str, list[str]] = {}
    if mirrors:
        sections["docker.io"] = [f"mirrors = {json.dumps(list(mirrors))}"]
    for host in sorted({*plain, *certificates}):
        # Both together mean what Docker means by it: TLS that is not verified, else none.
        lines = ["http = true", "insecure = true"] if host in plain else []
        files = certificates.get(host, ())
        authorities = [str(path) for path in files if path.suffix == ".crt"]
        lines += [f"ca = {json.dumps(authorities)}"] if authorities else []
        for path in files:
            if path.suffix == ".cert":
                pair = {"key": str(path.with_suffix(".key")), "cert": str(path)}
                lines.append(f"[[registry.{json.dumps(host)}.keypair]]")
                lines += [f"{name} = {json.dumps(file)}" for name, file in pair.items()]
        sections.setdefault(host, []).extend(lines)
    return "".join(
        f"[registry.{json.dumps(host)}]\n" + "".join(f"{line}\n" for line in lines)
        for host, lines in sections.items()
        if lines
    )


def certificates_below(*folders: Path) -> dict[str, tuple[Path, ...]]:
    """The files that Docker keeps for each registry; of a host that stands in several folders the first's."""
    found: dict[str, tuple[Path, ...]] = {}
    for folder in folders:
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.is_dir():
                found.setdefault(entry.name, tuple(sorted(entry.iterdir())))
    return found


def listed(text: str) -> tuple[str, ...]:
    """The names in what `docker buildx ls` prints; nodes are indented below them."""
    lines = text.splitlines()[1:]
    return tuple(line.split()[0].rstrip("*") for line in lines if line.strip() and line[0] not in " \\")
