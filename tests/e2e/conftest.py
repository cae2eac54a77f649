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

import pytest

from deployer.rehearsal import project_spec
from freehold.paths import cache_dir
from freehold.process import LocalRunner, which
from lab.model import LabSpec
from tests.conftest import required
from tests.e2e.production import Production

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
LAB = """\
memory: 1100M
deadline: 1200
"""


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State and sockets in directories of their own, images from the shared cache; both empty at the end."""
    lacking = [program for program in PROGRAMS if which(program) is None]
    if lacking:
        text = f"no machines here: {', '.join(lacking)} not installed"
        if required("e2e"):
            pytest.fail(text)
        pytest.skip(text)
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
    (root / "config" / "host.yml").unlink()
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
