"""Secrets out of a real encrypted file, up to the container that gets them; no argument holds one."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Control, cannot_run, program
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

VALUES = {"TOKEN": "it's $HOME \\ #1", "OTHER": "not asked for"}
FETCH = "secrets fetch --adapter age --account {} --from vault.age TOKEN"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    """With a file that `age` encrypted for one of two people."""
    if not program("age").exists():
        cannot_run("integration", "`make setup` did not leave .venv/bin/age")
    made = Project(rig, hosts[:1], control.directory)
    made.config["servers"]["web"]["hosts"] = [hosts[0].name]
    made.save()
    for name in ("mine", "theirs"):
        control.run(program("age-keygen"), "--output", f"{name}.key")
    reader = control.run(program("age-keygen"), "-y", "mine.key").stdout.strip()
    seal = (program("age"), "--recipient", reader, "--output", "vault.age")
    control.run(*seal, stdin=json.dumps(VALUES))
    # Where the command finds the program, as any that is installed.
    made.environ["PATH"] = f"{program('age').parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    return made


def test_the_account_that_a_fetch_names_is_whose_secrets_are_read(project: Project) -> None:
    found = project.freehold(*FETCH.format("mine.key").split()).stdout
    assert json.loads(found) == {"TOKEN": VALUES["TOKEN"]}
    extracted = project.freehold("secrets", "extract", "TOKEN", found).stdout
    assert extracted == VALUES["TOKEN"] + "\n"
    refused = squeezed(project.freehold(*FETCH.format("theirs.key").split(), expect=1))
    assert "no identity matched any of the recipients" in refused, refused
    assert VALUES["TOKEN"] not in refused


def test_what_is_fetched_reaches_the_container(project: Project) -> None:
    """By the secrets files of the path that counts; `print` shows those of any other."""
    lines = "ALL=$(freehold {})\nTOKEN=$(kamal secrets extract TOKEN $ALL)\n"
    for name, key in (("ops/vault", "mine.key"), ("ops/stolen", "theirs.key")):
        path = project.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines.format(FETCH.format(key)))
    (project.directory / "ops" / "vault.eu").write_text("TOKEN=of-europe\n")
    shown = json.loads(project.freehold("secrets", "print", "--json").stdout)
    assert shown == project.secrets
    shown = json.loads(project.freehold("secrets", "print", "--path", "ops/vault", "--json").stdout)
    assert shown["TOKEN"] == VALUES["TOKEN"]
    words = ("secrets", "print", "--path", "ops/vault", "-d", "eu")
    assert project.freehold(*words).stdout == "TOKEN=of-europe\n"
    refused = squeezed(project.freehold("secrets", "print", "--path", "ops/stolen", expect=2))
    assert "no identity matched" in refused, refused
    (host,) = project.hosts
    project.config["secrets_path"] = "ops/stolen"
    project.save()
    project.image("v1")
    assert "no identity matched" in squeezed(project.send("v1", expect=2))
    assert project.containers(host) == {}
    project.config["secrets_path"] = "ops/vault"
    project.save()
    project.send("v1")
    assert project.environment(host)["TOKEN"] == VALUES["TOKEN"]
