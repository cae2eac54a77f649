"""Which hosts a command goes to: hosts where nobody listens tell who was asked."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from deployer.cli.main import cli
from freehold.command import Context, run
from freehold.console import Console

APP, DATABASE, JOBS = "127.0.0.2", "127.0.0.3", "127.0.0.4"
FILE = f"""
service: shop
image: own/shop
servers: [{APP}]
ssh: {{port: 1, config: false}}
accessories:
  db: {{image: postgres, host: {DATABASE}, proxy: {{host: db.test, app_port: 80}}}}
"""
EVERYBODY = {APP, DATABASE}


def freehold(root: Path, *words: str, file: str = FILE) -> tuple[int, str, str]:
    """Exit code and both outputs of a command in a project."""
    (root / "config").mkdir()
    (root / "config/deploy.yml").write_text(file)
    out, err = io.StringIO(), io.StringIO()
    console = Console(out=out, err=err, color=False)
    context = Context(console=console, environ={"PATH": "/usr/bin:/bin", "HOME": str(root)}, root=root)
    return run(cli, list(words), context), out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["server", "exec", "--json", "true"], EVERYBODY),
        (["server", "exec", "--json", "-h", DATABASE, "true"], {DATABASE}),
        (["server", "exec", "--json", "-r", "web", "true"], {APP}),
        (["server", "exec", "--json", "-p", "true"], {APP}),
        (["status", "--json"], EVERYBODY),
        (["status", "--json", "-h", DATABASE], {DATABASE}),
        (["proxy", "details", "--json", "-h", DATABASE], {DATABASE}),
    ],
)
def test_hosts_of_accessories_are_hosts(tmp_path: Path, words: list[str], asked: set[str]) -> None:
    code, out, err = freehold(tmp_path, *words)
    assert code == 1, err
    assert {row["host"] for row in json.loads(out)} == asked


SHARED = FILE.replace(f"servers: [{APP}]", f"servers: {{web: [{APP}], jobs: {{hosts: [{JOBS}], cmd: work}}}}")


@pytest.mark.parametrize(
    ("words", "hosts", "named"),
    [
        (["remove"], {APP, JOBS, DATABASE}, True),
        (["remove", "-r", "jobs"], {JOBS}, False),
        (["remove", "-r", "web"], {APP}, False),
        (["remove", "-h", DATABASE], {DATABASE}, True),
    ],
)
def test_roles_leave_the_database_of_other_hosts_alone(
    tmp_path: Path,
    words: list[str],
    hosts: set[str],
    named: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The question tells what would be removed.
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, _, _ = freehold(tmp_path, *words, file=SHARED)
    question = capsys.readouterr().err
    assert code != 0
    assert {host for host in (APP, JOBS, DATABASE) if host in question} == hosts, question
    assert ("accessories db, data too" in question) == named, question


@pytest.mark.parametrize(
    "words",
    [
        ["accessory", "remove", "db", "-y", "-r", "jobs"],
        ["accessory", "reboot", "all", "-r", "jobs"],
        ["accessory", "stop", "all", "-r", "jobs"],
    ],
)
def test_an_accessory_is_on_none_of_the_hosts_of_a_role(tmp_path: Path, words: list[str]) -> None:
    code, _, err = freehold(tmp_path, *words, file=SHARED)
    assert (code, "runs on none of the hosts asked for" in err) == (2, True), err


@pytest.mark.parametrize("words", [["audit"], ["server", "bootstrap"], ["server", "check"]])
def test_the_host_of_a_database_is_looked_after(tmp_path: Path, words: list[str]) -> None:
    code, _, err = freehold(tmp_path, *words, "-h", DATABASE)
    assert code == 1
    assert f"{DATABASE}: " in err and "no host is left" not in err


def test_what_the_application_needs_is_not_asked_of_the_database(tmp_path: Path) -> None:
    code, _, err = freehold(tmp_path, "app", "details", "-h", DATABASE)
    assert (code, "no host is left to work on" in err) == (2, True)


def test_a_key_that_is_missing_is_told(tmp_path: Path) -> None:
    file = FILE.replace("port: 1,", f"port: 1, keys: [{tmp_path}/missing],")
    code, _, err = freehold(tmp_path, "status", file=file)
    assert code == 1
    assert f"config/deploy.yml ssh.keys: there is no file {tmp_path}/missing" in " ".join(err.split())


@pytest.mark.parametrize("words", [["diff"], ["jobs", "list"]])
def test_a_host_that_is_down_has_a_line_of_its_own(tmp_path: Path, words: list[str]) -> None:
    file = FILE + "jobs: {tidy: {schedule: '@daily', cmd: 'true'}}\n"
    code, out, err = freehold(tmp_path, *words, "--json", file=file)
    assert code == 1, err
    (row,) = json.loads(out)
    assert row["host"] == APP and "Connection refused" in row["problem"]


def test_the_configuration_is_shown_with_its_accessories(tmp_path: Path) -> None:
    code, out, _ = freehold(tmp_path, "config", "--json")
    assert code == 0
    shown = json.loads(out)["accessories"]["db"]
    assert (shown["service"], shown["image"], shown["hosts"]) == ("shop-db", "postgres", [DATABASE])
