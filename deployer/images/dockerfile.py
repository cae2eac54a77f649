"""Which images a Dockerfile builds on."""

from __future__ import annotations

import re
from pathlib import Path

from deployer.engine import Engine
from deployer.images.base import import_tar, own_base
from deployer.images.builder import Builder
from freehold.console import Console
from freehold.errors import BuildError
from freehold.process import Runner

_FROM = re.compile(r"\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


def bases(text: str) -> tuple[str, ...]:
    """The images named in `FROM`, without earlier stages of the same file; `:latest` where none is given."""
    stages: set[str] = {"scratch"}
    found: list[str] = []
    for line in text.splitlines():
        match = _FROM.match(line)
        if match is None:
            continue
        name, stage = match.groups()
        if name.lower() not in stages and "$" not in name:
            last = name.rsplit("/", 1)[-1]
            found.append(name if ":" in last or "@" in last else f"{name}:latest")
        if stage:
            stages.add(stage.lower())
    return tuple(dict.fromkeys(found))


def set_by_args(text: str) -> bool:
    """Whether an instruction other than RUN has the value of an ARG in it, as `ENV X=$ARG` has.

    Podman's cache (4.3, 5.4) goes by the words of such a line: with another value it finds the old image.
    """
    names: set[str] = set()
    for line in re.sub(r"\\\s*\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "ARG":
            names.update(part.partition("=")[0] for part in rest.split())
        elif word.upper() not in ("RUN", "FROM") and names & set(_VARIABLE.findall(rest)):
            return True
    return False


def import_bases(dockerfile: Path, *, engine: Engine, runner: Runner, console: Console) -> None:
    """Load the base images that `freehold image base` has made into the engine, where the file wants them."""
    if not dockerfile.is_file():
        return
    for reference in bases(dockerfile.read_text(encoding="utf-8", errors="replace")):
        tar = own_base(reference)
        if tar is not None:
            import_tar(tar, reference, engine=engine, runner=runner, console=console)


def refuse_bases(dockerfile: Path, builder: Builder) -> None:
    """BuildError where the file builds on an image that only engines have, and the builder sees none."""
    if not dockerfile.is_file():
        return
    for reference in bases(dockerfile.read_text(encoding="utf-8", errors="replace")):
        if own_base(reference) is not None:
            raise BuildError(
                f"{builder.wanted_by} needs a builder beside the engine's own, which takes base images from "
                f"registries only; {reference} was made on this computer",
                hint=f"push it to a registry and write `FROM` that, or take {builder.wanted_by} out",
            )
