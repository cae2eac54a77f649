"""A Docker Engine of this machine as a value, and asking one what it is."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deployer.engine.registries import Registries, parse_registries
from freehold.errors import BuildError, FreeholdError
from freehold.process import Runner

Store = Literal["graph", "containerd"]

# `uname -m` as Docker reports it -> Docker's own name.
ARCHITECTURES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
_PROBE = "{{json .}}"


def own_arch() -> str:
    """Docker's name for this computer's processor."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class Engine:
    """An engine that answers. `host` is a DOCKER_HOST value; empty leaves the choice to the client's context.

    `store` is where images live: in a graph driver (image id = digest of the configuration) or in
    containerd (image id = digest of the manifest).
    """

    host: str
    version: str
    arch: str
    driver: str
    store: Store
    data_root: Path
    private: bool = False
    program: Literal["docker", "podman"] = "docker"
    context: str = ""
    """The client's context, which leads to the engine where there is no `host`."""
    registries: Registries = field(default_factory=Registries)

    @property
    def env(self) -> Mapping[str, str]:
        """What a docker client needs in its environment to reach this engine."""
        return host_environment(self.host)

    @property
    def remote(self) -> bool:
        """Whether the engine is on another machine, so that its files cannot be read here."""
        return bool(self.host) and not self.host.startswith("unix://")


def host_environment(host: str) -> Mapping[str, str]:
    """What leads a docker client to `host`; only over TCP is there any TLS, which the caller may have on."""
    if not host:
        return {}
    off = () if host.startswith("tcp://") else ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
    return {"DOCKER_HOST": host, **dict.fromkeys(off, "")}


def store_of(driver_status: object) -> Store:
    """The kind of image store, from `.DriverStatus` of `docker info`."""
    return "containerd" if "io.containerd.snapshotter" in json.dumps(driver_status) else "graph"


def parse_info(text: str, *, host: str, private: bool = False) -> Engine:
    """`docker info --format '{{json .}}'` as an Engine; BuildError where the engine did not answer."""
    try:
        info = json.loads(text)
    except ValueError as exc:
        raise BuildError("the Docker client printed no JSON about its engine") from exc
    errors = [str(entry) for entry in info.get("ServerErrors") or ()]
    if errors or not info.get("ServerVersion"):
        raise BuildError("the Docker Engine does not answer", details=errors)
    machine = str(info.get("Architecture", ""))
    return Engine(
        host=host,
        version=str(info["ServerVersion"]),
        arch=ARCHITECTURES.get(machine, machine),
        driver=str(info.get("Driver", "")),
        store=store_of(info.get("DriverStatus")),
        data_root=Path(str(info.get("DockerRootDir", "/var/lib/docker"))),
        private=private,
        context=str((info.get("ClientInfo") or {}).get("Context") or ""),
        registries=parse_registries(info.get("RegistryConfig") or {}),
    )


def ask(runner: Runner, *, host: str = "", timeout: float = 10.0, private: bool = False) -> Engine:
    """The engine at `host`, or the one of the client's environment and context. BuildError: none answers."""
    env = host_environment(host)
    try:
        done = runner.run(("docker", "info", "--format", _PROBE), env=env, timeout=timeout, check=False)
    except FreeholdError as exc:
        raise BuildError(f"no Docker Engine: {exc}", hint=exc.hint) from exc
    if not done.stdout.strip():
        raise BuildError("the Docker Engine does not answer", details=done.stderr.splitlines()[-3:])
    return parse_info(done.stdout, host=host, private=private)
