"""podman in the place of a Docker Engine: it builds, saves and pushes images, and needs no daemon."""

from __future__ import annotations

import json
from pathlib import Path

from deployer.engine.engine import ARCHITECTURES, Engine
from freehold.errors import BuildError, FreeholdError
from freehold.process import Runner


def parse_podman(text: str) -> Engine:
    """`podman info --format '{{json .}}'` as an Engine. BuildError: podman printed something else."""
    try:
        info = json.loads(text)
        arch = str(info["host"]["arch"])
        return Engine(
            host="",
            version=str(info["version"]["Version"]),
            arch=ARCHITECTURES.get(arch, arch),
            # Its layers lie elsewhere than Docker's, so they are taken out of `podman image save`.
            driver=f"podman {info['store']['graphDriverName']}",
            store="graph",
            data_root=Path(str(info["store"]["graphRoot"])),
            program="podman",
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise BuildError(f"podman told nothing about itself: {exc}") from exc


def ask_podman(runner: Runner) -> Engine:
    """What podman says of itself. BuildError: it does not work here."""
    try:
        done = runner.run(("podman", "info", "--format", "{{json .}}"), timeout=60)
    except FreeholdError as exc:
        raise BuildError(
            "podman does not work here",
            details=exc.details,
            hint="`podman info` by hand shows why; or install docker",
        ) from exc
    return parse_podman(done.stdout)
