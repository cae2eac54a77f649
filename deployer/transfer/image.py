"""An image of the local engine as a value: what it is called and what it is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass

from deployer.engine import Engine
from freehold.errors import BuildError
from freehold.process import Runner


@dataclass(frozen=True)
class LocalImage:
    """`id` as the local engine names it (`sha256:…`); `layers` are diffIDs, the lowest first."""

    reference: str
    id: str
    layers: tuple[str, ...]
    arch: str
    size: int


def parse_inspect(text: str, reference: str) -> LocalImage:
    """`docker image inspect --format '{{json .}}'` as a LocalImage."""
    found = json.loads(text)
    # podman prints a list, and ids without their algorithm.
    found = found[0] if isinstance(found, list) else found
    return LocalImage(
        reference=reference,
        id=f"sha256:{str(found['Id']).removeprefix('sha256:')}",
        layers=tuple(str(layer) for layer in found["RootFS"].get("Layers") or ()),
        arch=str(found["Architecture"]),
        size=int(found["Size"]),
    )


def inspect_image(engine: Engine, reference: str, runner: Runner) -> LocalImage:
    """The image `reference` of the engine. BuildError: there is none."""
    done = runner.run(
        (engine.program, "image", "inspect", "--format", "{{json .}}", reference),
        env=engine.env,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(
            f"this computer has no image {reference}",
            hint="build it first: `freehold build push` or a deploy without --skip-push",
            details=done.stderr.splitlines()[-3:],
        )
    return parse_inspect(done.stdout, reference)


def normalized(reference: str) -> str:
    """The full name that containerd keeps: `app:v1` is `docker.io/library/app:v1`."""
    first, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    if "." in first or ":" in first or first == "localhost":
        return reference
    return f"docker.io/{reference}"


def familiar(reference: str) -> str:
    """The short name that Docker prints: the opposite of `normalized`."""
    return reference.removeprefix("docker.io/").removeprefix("library/")
