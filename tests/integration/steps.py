"""Steps of the recipe, run by themselves on a host."""

from __future__ import annotations

from cloudinit.recipe import Recipe
from cloudinit.script import as_script
from cloudinit.steps import Step
from freehold.process import Completed
from tests.rig import Host


def run_steps(host: Host, *steps: Step) -> Completed:
    """Steps of a recipe as `server bootstrap` runs them, whatever comes of it."""
    return host.exec(
        ("bash", "-s"), stdin=as_script(Recipe(steps, ()), offline=False), check=False, timeout=120
    )
