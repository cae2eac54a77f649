"""What `freehold init` writes is a project that loads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cloudinit.profile import load_profile
from deployer.cli.main import cli
from deployer.config import load_config
from freehold.command import Context, run
from freehold.console import Console
from freehold.process import LocalRunner


@pytest.mark.parametrize(("environ", "user"), [({}, "deploy"), ({"SSH_USER": "root"}, "root")])
def test_a_new_project_is_reached_as_the_user_of_its_hosts_and_at_first_as_another(
    tmp_path: Path, environ: dict[str, str], user: str
) -> None:
    assert run(cli, ["init"], Context(console=Console(err=io.StringIO()), root=tmp_path)) == 0
    config = load_config(tmp_path, environ=environ, runner=LocalRunner())
    assert (config.ssh.user, config.warnings) == (user, ())
    assert [one.name for one in load_profile(tmp_path / "config/host.yml").users] == ["deploy"]
