"""Images of two layers, and the operator's SSH connection over which they travel."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deployer.endpoint import Endpoint
from deployer.engine import Engine
from deployer.images.build import build_image
from deployer.images.request import BuildRequest
from deployer.remote import Remote
from deployer.transfer import (
    FACTS,
    HostImages,
    LocalImage,
    Outcome,
    Plan,
    StreamResult,
    Transfer,
    parse_facts,
)
from freehold.process import LocalRunner
from tests.rig import Host, Rig

RUNNER = LocalRunner()


@dataclass(frozen=True)
class TwoLayers:
    """An application of two layers: a large one that stays, a small one with one line."""

    directory: Path
    engine: Engine

    def build(self, line: str, tag: str) -> LocalImage:
        (self.directory / "app").write_text(f"{line}\n")
        request = BuildRequest(self.directory, (tag,))
        return build_image(request, engine=self.engine, runner=RUNNER, on_line=lambda _: None)


def two_layers(directory: Path, engine: Engine) -> TwoLayers:
    """The application in a directory of its own."""
    (directory / "large").write_bytes(os.urandom(12_000_000))
    (directory / "Dockerfile").write_text('FROM scratch\nCOPY large /large\nCOPY app /app\nCMD ["/app"]\n')
    return TwoLayers(directory, engine)


@dataclass(frozen=True)
class Feeder:
    """The connection as the transfer wants it."""

    remote: Remote

    @property
    def host(self) -> str:
        return self.remote.name

    def exec_stream(self, command: str, chunks: Iterable[bytes]) -> StreamResult:
        status, output = self.remote.feed(command, chunks)
        return StreamResult(status, output)


def endpoint_of(rig: Rig, host: Host) -> Endpoint:
    return Endpoint(
        name=host.name,
        address=host.address,
        user=host.user,
        port=host.ssh_port,
        keys=(str(rig.home / ".ssh" / "id_ed25519"),),
        keys_only=True,
        known_hosts=(rig.home / ".ssh" / "known_hosts",),
        only_known=True,
        config_files=(),
    )


class Line:
    """The operator's SSH connection to one host; everything happens inside the control namespace."""

    def __init__(self, rig: Rig, host: Host) -> None:
        self.rig = rig
        self.host = host
        self.remote = Remote(endpoint_of(rig, host))

    def facts(self) -> HostImages:
        output = self.rig.control_call(self.remote.exec, f"bash -c {shlex.quote(FACTS)}")
        assert output.returncode == 0, output.stderr
        return parse_facts(output.stdout)

    def plan(self, transfer: Transfer) -> Plan:
        return transfer.plan(self.host.name, self.facts())

    def send(self, transfer: Transfer, plan: Plan, **options: object) -> Outcome:
        def work() -> Outcome:
            return transfer.send(plan, Feeder(self.remote), **options)  # type: ignore[arg-type]

        return self.rig.control_call(work)

    def close(self) -> None:
        self.remote.close()
