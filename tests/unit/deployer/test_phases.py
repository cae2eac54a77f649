"""The scripts of a deploy as text: valid bash, no secret in an argv, each value as it was written."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.commands import app, docker, layout, phases
from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig
from deployer.kept import leftovers
from deployer.script import Script
from freehold.secret import Secret
from tests.unit.deployer import samples

NASTY = {
    "PLAIN": "value",
    "SPACES": "  a b  ",
    "DOLLAR": "$HOME $(id) `id` ${x}",
    "QUOTES": 'it\'s "so"',
    "HASH": "a#b = c",
    "BACKSLASH": "a\\nb\\",
    "LINES": "-----BEGIN KEY-----\nab'c$d\n-----END KEY-----\n",
    "HEREDOC": "FREEHOLD_END",
    "EMPTY": "",
}


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret", "KEY": "line one\ntop secret too"},
        env={"clear": {"GREETING": "it's $me"}, "secret": ["TOKEN", "KEY"]},
    )


def scripts(config: DeployConfig) -> dict[str, Script]:
    """Every script that changes something on a host which runs two versions."""
    roles = config.roles_on("web-2")
    known = samples.facts(
        "web-2",
        samples.container("shop-web-v1"),
        samples.container("shop-jobs-v1"),
        samples.container("shop-web-v0", "exited"),
        samples.container("shop-web-x", "exited"),
        history=("v0", "v1"),
    )
    left = leftovers(config, known, "v2", revived=False)
    return {
        "prepare": phases.prepare(config, "web-2", roles, "v2", "own/shop:v2"),
        "commit": phases.commit(config, roles, "v2"),
        "finish": phases.finish(config, left, audit="me deployed v2"),
        "undo": phases.undo(config, known, roles, "v2", audit="me: it's broken"),
        "undo of the first": phases.undo(config, HostFacts("web-2"), roles, "v2", audit="me"),
        "revive": phases.revive(config, roles, "v1"),
        "stop": app.stop(config, roles),
        "remove": app.remove(config, roles),
    }


def test_every_script_is_bash(config: DeployConfig) -> None:
    for name, script in scripts(config).items():
        checked = subprocess.run(["bash", "-n"], input=script.render(), capture_output=True, text=True)
        assert (name, checked.returncode, checked.stderr) == (name, 0, "")
        assert script.guard == layout.guard("shop")


def test_no_secret_stands_in_a_command(config: DeployConfig) -> None:
    """Only the here documents that are written to env files hold them."""
    for script in scripts(config).values():
        for step in script.steps:
            if not step.name.startswith("env-"):
                assert "top secret" not in step.shell
    assert "top secret" not in repr(config)
    for role in config.roles:
        assert "secret" not in shlex.join(docker.run_argv(config, role, "v2", "web-2"))
        assert "top secret" not in repr(config.env_for(role))


def written(directory: Path, clear: dict[str, str], secret: dict[str, Secret]) -> dict[str, str]:
    """What a container would get: bash writes the files, Docker's rules and bash read them."""
    path = directory / "web.env"
    path.with_name("web.env.multi").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    fragment = docker.env_fragment(str(path), clear, secret)
    subprocess.run(["bash", "-euc", fragment], check=True)
    found = dict(line.split("=", 1) for line in path.read_text().split("\n") if line)
    multi = path.with_name("web.env.multi")
    assert path.stat().st_mode & 0o777 == 0o600
    if multi.exists():
        assert multi.stat().st_mode & 0o777 == 0o600
        names = list(docker.with_line_breaks(clear, secret))
        code = "import json, os, sys; print(json.dumps({name: os.environ[name] for name in sys.argv[1:]}))"
        command = f". {shlex.quote(str(multi))}; python3 -c {shlex.quote(code)} {shlex.join(names)}"
        done = subprocess.run(["bash", "-euc", command], check=True, capture_output=True, text=True)
        found |= json.loads(done.stdout)
    return found


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    secret = {f"S_{name}": Secret(value) for name, value in NASTY.items()}
    found = written(tmp_path, NASTY, secret)
    assert found == {**NASTY, **{f"S_{name}": value for name, value in NASTY.items()}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_any_value_arrives(tmp_path: Path, value: str) -> None:
    assert written(tmp_path, {"VALUE": value}, {}) == {"VALUE": value}


def test_a_container_is_told_who_it_is(config: DeployConfig) -> None:
    web, jobs = config.role("web"), config.role("jobs")
    argv = docker.run_argv(config, web, "v2", "web-1")
    assert argv[argv.index("--name") + 1] == "shop-web-v2"
    for pair in (
        "KAMAL_VERSION=v2",
        "KAMAL_HOST=web-1",
        "KAMAL_ROLE=web",
        "KAMAL_CONTAINER_NAME=shop-web-v2",
    ):
        assert pair in argv
    assert "service=shop" in argv and "role=web" in argv and "version=v2" in argv
    assert argv[argv.index("--pull") + 1] == "never"
    start = docker.start_fragment(config, jobs, "v2", "web-2", "own/shop:v2")
    assert start.endswith("own/shop:v2 bin/jobs --queue 'a b'")


def test_only_what_the_proxy_reaches_has_a_fixed_address(config: DeployConfig) -> None:
    web, jobs = config.role("web"), config.role("jobs")
    assert "--ip $address" in docker.start_fragment(config, web, "v2", "web-2", "own/shop:v2")
    assert "--ip" not in docker.start_fragment(config, jobs, "v2", "web-2", "own/shop:v2")


@pytest.mark.parametrize(
    ("options", "argv"),
    [
        ({}, []),
        ({"memory": "2g"}, ["--memory", "2g"]),
        ({"add-host": ["a:1", "b:2"]}, ["--add-host", "a:1", "--add-host", "b:2"]),
        ({"init": True, "tty": False, "rm": None}, ["--init", "--tty=false"]),
        ({"cpus": 2}, ["--cpus", "2"]),
    ],
)
def test_options_as_they_are_written_in_the_file(options: dict[str, object], argv: list[str]) -> None:
    assert docker.options_argv(options) == argv


def test_a_role_without_traffic_is_no_part_of_the_switch(config: DeployConfig) -> None:
    only = phases.commit(config, (config.role("jobs"),), "v2")
    assert [step.name for step in only.steps] == ["history"]
    both = phases.commit(config, config.roles, "v2")
    assert [step.name for step in both.steps] == ["switch-web", "routes", "history"]


def test_the_way_back_begins_with_the_traffic(config: DeployConfig) -> None:
    undo = scripts(config)["undo"]
    assert [step.name for step in undo.steps][:4] == ["traffic", "files", "routes", "remove"]
    assert undo.keep_going
    assert "write_target shop-web 172.30.0.9:3000" in undo.steps[0].shell
    first = scripts(config)["undo of the first"]
    assert "rm -f" in first.steps[0].shell


def test_nothing_is_stopped_where_nothing_ran(config: DeployConfig) -> None:
    left = leftovers(config, samples.facts("web-1"), "v1", revived=False)
    finish = phases.finish(config, left, audit="me")
    assert [step.name for step in finish.steps] == ["settle", "audit"]


def test_files_of_a_version_are_put_back_as_they_were(tmp_path: Path) -> None:
    version, copy = tmp_path / "versions" / "v1", tmp_path / "before" / "v1"

    def words(*lines: str) -> None:
        places = f"set -- {shlex.quote(str(version))} {shlex.quote(str(copy))}"
        subprocess.run(["bash", "-euc", "\n".join([layout.library(), places, *lines])], check=True)

    keep, back = 'keep_files "$1" "$2"', 'put_files_back "$1" "$2"'
    words(keep, back)
    assert not version.exists() and not copy.exists()
    version.mkdir(parents=True)
    (version / "web.env").write_text("old")
    (version / "web.env").chmod(0o600)
    # Twice, as workers are started by a script of their own, and after a run that was cut off.
    words(keep, 'echo new >"$1/web.env"; echo more >"$1/more"', keep)
    assert (version / "web.env").read_text() == "new\n"
    words(back)
    assert [path.name for path in version.iterdir()] == ["web.env"]
    assert (version / "web.env").read_text() == "old"
    assert (version / "web.env").stat().st_mode & 0o777 == 0o600
    assert not copy.exists()
