"""The lab of a project, in which a host of the rig stands for a machine: a whole system like those."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.state import LabState, MachineState, save_state
from tests.integration.app.project import Project
from tests.rig import Host


@contextmanager
def rehearsing(project: Project, *names: str) -> Iterator[Host]:
    """The project's second host is the lab's machine for each of these; it is empty before and after."""
    host = project.hosts[1]
    host.reset()
    home = project.rig.home
    directory = home / ".local/state/freehold/labs/shop"
    directory.mkdir(parents=True)
    machine = MachineState(
        host="", name="", number=0, address=host.address, ssh_port=22, http_port=80, https_port=443,
        lan=host.address, roles=(), uuid="", management_mac="", lan_mac="", cpus=1, memory=1, disk=1,
    )  # fmt: skip
    machines = [
        dataclasses.replace(machine, host=name, name=name, number=number)
        for number, name in enumerate(names, 1)
    ]
    save_state(
        LabState(
            name="shop", directory=directory, runtime=Path("/nonexistent"), prefix="shop", user=host.user,
            uri="", private=False, accelerator="", image=Path("/nonexistent"), internet=False, boot="",
            machines=tuple(machines),
        )
    )  # fmt: skip
    shutil.copy(home / ".ssh" / "id_ed25519", directory)
    (directory / "known_hosts").write_text(f"{host.known_hosts}\n")
    try:
        yield host
    finally:
        shutil.rmtree(directory)
        host.reset()
