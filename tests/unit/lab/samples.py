"""A lab for tests that need no machine."""

from dataclasses import replace
from pathlib import Path

from lab.model import LabSpec, MachineSpec
from lab.plan import Place, plan_state
from lab.state import LabState

SPEC = LabSpec(
    "shop",
    (
        MachineSpec("web-1", host="web-1.example.com", roles=("web",)),
        MachineSpec("web-2", host="203.0.113.7", roles=("web", "job-runner")),
        MachineSpec("db-1", roles=("db",)),
    ),
)


PLACE = Place(
    directory=Path("/state/labs/shop"),
    runtime=Path("/state/run"),
    prefix="127.80.3",
    uri="qemu:///session",
    private=True,
    accelerator="tcg",
    image=Path("/state/image"),
)


def lab_state(root: Path = Path("/state"), spec: LabSpec = SPEC, known: LabState | None = None) -> LabState:
    """The state that `lab up` would plan below `root`."""
    place = replace(PLACE, directory=root / "labs" / spec.name, runtime=root / "run", image=root / "image")
    machines = {machine.name: machine for machine in known.machines} if known else {}
    return plan_state(spec, place, machines)
