"""A registry of the operator's that wants a password, and hosts that take it without TLS."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.conftest import program
from tests.rig import Host, Rig
from tests.rig.request import Response

MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.v2")
)
USER, PASSWORD = "deployer", "pass-of-the-$registry"


@dataclass
class Registry:
    """Debian's docker-registry in the operator's namespace."""

    rig: Rig
    folder: Path
    server: str

    @contextmanager
    def running(self) -> Iterator[None]:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (self.folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
        (self.folder / "config.json").write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"level": "error"},
                    "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
                    "http": {"addr": self.server},
                    "auth": {"htpasswd": {"realm": "rig", "path": str(self.folder / "htpasswd")}},
                }
            )
        )
        argv = (program("docker-registry"), "serve", self.folder / "config.json")
        with self.rig.control_start(argv, stdout=self.folder / "log") as process:
            end = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < end:
                try:
                    assert self.get("/v2/").status == 200
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                pytest.fail((self.folder / "log").read_text())
            yield

    def get(self, path: str, accept: str = "*/*") -> Response:
        address, _, port = self.server.partition(":")
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}", "Accept": accept}
        return self.rig.http(address, path, port=int(port), headers=headers)

    def manifest(self, repository: str, reference: str) -> Any:
        """What a tag or digest stands for, as it was pushed."""
        answer = self.get(f"/v2/{repository}/manifests/{reference}", MANIFESTS)
        assert answer.status == 200, answer.text
        return answer.json()

    def tags(self, repository: str) -> set[str]:
        answer = self.get(f"/v2/{repository}/tags/list")
        return set(answer.json()["tags"]) if answer.status == 200 else set()


@contextmanager
def trusting(host: Host, server: str) -> Iterator[None]:
    """The host's engine takes a registry without TLS."""
    path = "/etc/docker/daemon.json"
    before = host.read(path)
    host.write(path, json.dumps({**json.loads(before), "insecure-registries": [server]}))
    host.exec("systemctl reload docker")
    # The reload is a signal, which the engine heeds when it comes to it.
    known = "docker info --format '{{json .RegistryConfig.IndexConfigs}}'"
    host.exec(f"for i in $(seq 300); do {known} | grep -qF {server} && exit; sleep 0.1; done; exit 1")
    try:
        yield
    finally:
        host.write(path, before)
        host.exec("systemctl reload docker")
