"""One lab for all end-to-end tests: three machines that mirror a production deploy file.

Booting emulated machines takes a minute or two, so the tests share it, in the order of their files.
The fixtures are those that the plugin `lab.pytest_plugin` gives to every project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from deployer.rehearsal import project_spec
from freehold.environment import which
from freehold.paths import cache_dir
from freehold.process import LocalRunner
from lab.lab import Lab
from lab.model import LabSpec
from tests.conftest import cannot_run
from tests.e2e.production import Production
from tests.e2e.trouble import Troubled

ROOT = Path(__file__).parents[2]
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "libvirtd", "ssh", "unshare")

# One host by name, one by address, one that serves nothing.
DEPLOY = """\
service: shop
image: freehold/shop
servers:
  web:
    - web-1.example.com
    - 203.0.113.7
  job:
    hosts:
      - 203.0.113.8
    cmd: sleep infinity
    proxy: false
proxy:
  ssl: false
  host: shop.example.com
  healthcheck:
    path: /up
    interval: 1
ssh:
  user: deploy
env:
  clear:
    GREETING: Rehearsed.
  secret:
    - SECRET_KEY
# Emulated machines start containers slowly.
deploy_timeout: 120
drain_timeout: 5
"""
# Two of the three have a network of their own, which one of them takes first.
LAB = """\
memory: 1100M
deadline: 2400
networks:
  back: {subnet: 192.0.2.0/24}
machines:
  web-1: {networks: [lan, back]}
  job-1: {networks: {back: 192.0.2.20, lan: }}
"""

# The files that share its machines, as pytest orders them.
STORY = (
    "test_lab.py",
    "test_lab_faults.py",
    "test_rehearsal.py",
    "test_restore.py",
    "test_takedown.py",
)


class Placing(LoadScopeScheduling):  # type: ignore[misc]
    """Of several workers one has all tests of the shared machines, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].rpartition("/")[2]
        return "lab" if file in STORY else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Placing:
    """Whatever `--dist` says."""
    return Placing(config, log)


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State and sockets in directories of their own, images from the shared cache; both empty at the end."""
    lacking = [program for program in PROGRAMS if which(program) is None]
    if lacking:
        cannot_run("e2e", f"no machines here: {', '.join(lacking)} not installed")
    place = tmp_path_factory.mktemp("lab")
    # pytest's own directories are too deep for Unix sockets.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="fh") as short:
        runtime = Path(short)
        patch.setenv("FREEHOLD_CACHE", str(cache_dir()))
        patch.setenv("FREEHOLD_STATE", str(place))
        patch.setenv("FREEHOLD_RUNTIME", str(runtime))
        yield
        # A deploy's own Docker Engine keeps its settings there; it is no part of the lab.
        left = [
            path
            for root in (place, runtime)
            for path in root.rglob("*")
            if path.is_file() and runtime / "engine" not in path.parents
        ]
        runtime.mkdir(exist_ok=True)
        assert left == []


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    """A project with a production deploy file, under git. Nothing in it knows of the lab."""
    root = tmp_path_factory.mktemp("production") / "shop"
    shutil.copytree(ROOT / "examples" / "hello", root)
    # The port of the accessory that has a host of its own.
    (root / "config" / "host.yml").write_text("firewall: {open: [5432]}\n")
    (root / "config" / "deploy.yml").write_text(DEPLOY)
    (root / "config" / "lab.yml").write_text(LAB)
    made = Production(root)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    made.commit("v1")
    return made


@pytest.fixture(scope="session")
def lab_spec(production: Production) -> LabSpec:
    """The lab that mirrors production."""
    return project_spec(production.root, runner=LocalRunner(), environ=os.environ)


@pytest.fixture(scope="session")
def troubled(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """Labs that cannot come up, on their way in the background from the first test that asks for them."""
    made = Troubled(lab.state.image, tmp_path_factory.mktemp("troubled"))
    yield made
    made.end()
