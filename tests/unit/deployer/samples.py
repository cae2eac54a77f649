"""Configurations and host facts that the tests of the deployer's commands share."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deployer.commands.facts import Container, HostFacts, Served
from deployer.config import DeployConfig, load_config
from freehold.process import LocalRunner
from freehold.secret import Secret

BASIC: Mapping[str, Any] = {
    "service": "shop",
    "image": "own/shop",
    "servers": {
        "web": {"hosts": ["web-1", "web-2"]},
        "jobs": {"hosts": ["web-2"], "cmd": "bin/jobs --queue 'a b'"},
    },
    "proxy": {"host": "shop.test", "app_port": 3000},
}


def config(directory: Path, secrets: Mapping[str, str] | None = None, **changes: Any) -> DeployConfig:
    """`BASIC` with changes, read as the product reads it."""
    values = dict(secrets or {})
    path = directory / "deploy.yml"
    path.write_text(yaml.safe_dump({**BASIC, **changes}, sort_keys=False))
    return load_config(
        directory,
        config_file=Path("deploy.yml"),
        environ={},
        runner=LocalRunner(),
        secrets=lambda name: Secret(values[name]),
    )


def container(name: str, state: str = "running", **changes: Any) -> Container:
    """A container as `docker ps` lists it; role and version follow from the name."""
    service_role, _, version = name.partition("_replaced_")[0].rpartition("-")
    made = Container(
        name=name,
        state=state,
        role=service_role.partition("-")[2],
        version=version,
        address="172.30.0.9",
        image=f"own/shop:{version}",
        id=f"id-of-{name}",
        created="2026-01-31 12:00:00 +0000 UTC",
        status="Up",
    )
    return dataclasses.replace(made, **changes)


def served(line: str) -> Served:
    """A line of the history, without its time."""
    version, _, roles = line.partition(" ")
    return Served(version, tuple(roles.split(",")) if roles else ())


def facts(host: str = "web-1", *containers: Container, history: tuple[str, ...] = ()) -> HostFacts:
    """A host; its target is the address of the containers. A version of some roles only: `v2 web,jobs`."""
    targets = {"shop-web": "172.30.0.9:3000"} if containers else {}
    return HostFacts(host, tuple(containers), targets, tuple(map(served, history)))


def is_bash(text: str) -> None:
    """Bash takes it for a program."""
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def run(text: str) -> list[str]:
    """What it prints, by lines."""
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
