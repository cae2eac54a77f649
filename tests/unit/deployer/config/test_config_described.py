"""What `freehold config` shows: Kamal's document, and no secret."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from deployer.config.described import described
from tests.unit.deployer import samples
from tests.unit.deployer.config.project import Project
from tests.unit.deployer.test_hosts_asked import freehold

FILE = """\
service: app
image: own/app
servers: {web: [web-1], jobs: {hosts: [web-2], cmd: bin/jobs}}
registry: {server: r.example, username: me, password: plain-password}
volumes: ["data:/data"]
ssh: {user: app, key_data: [DEPLOY_KEY]}
builder: {arch: amd64, args: {A: "1", TOKEN: }, secrets: [NPM]}
logging: {driver: local}
env: {clear: {LEVEL: info}, secret: [SECRET_KEY]}
accessories:
  db:
    image: postgres:16
    host: db-1
    port: 5432
    env: {clear: {POSTGRES_DB: app}, secret: [POSTGRES_PASSWORD]}
    files: ["config/pg.conf:/etc/pg.conf"]
    directories: ["data:/var/lib/postgresql/data"]
    registry: {server: other.example, username: you, password: other-password}
"""


def test_the_document_has_kamals_names(project: Project) -> None:
    config = dataclasses.replace(project.load(FILE), environ={"TOKEN": "of-the-environment"})
    args = {"A": "1", "TOKEN": "of-the-environment"}
    found = described(
        dataclasses.replace(config, builder=dataclasses.replace(config.builder, args=args)), "v1"
    )
    # All that Kamal's own document has, as data that any program reads.
    assert json.loads(json.dumps(found)) == found
    assert found["hosts"] == ["web-1", "web-2", "db-1"] and found["primary_host"] == "web-1"
    assert list(found["roles"]) == ["web", "jobs"]
    assert (found["version"], found["repository"]) == ("v1", "r.example/own/app")
    assert (found["absolute_image"], found["service_with_version"]) == ("r.example/own/app:v1", "app-v1")
    assert found["volume_args"] == ["--volume", "data:/data"]
    assert found["logging"] == ["--log-driver", "local"]
    assert (found["ssh_options"]["user"], found["ssh_options"]["key_data"]) == ("app", ["DEPLOY_KEY"])
    assert found["sshkit"]["max_concurrent_starts"] == 30
    assert found["builder"]["arch"] == ["amd64"] and found["builder"]["secrets"] == ["NPM"]
    assert found["accessories"] == {
        "db": {
            "service": "app-db",
            "image": "other.example/postgres:16",
            "hosts": ["db-1"],
            "port": "5432:5432",
            "registry": {"server": "other.example"},
            "env": {"clear": {"POSTGRES_DB": "app"}, "secret": ["POSTGRES_PASSWORD"]},
            "labels": {"service": "app-db"},
            "files": ["config/pg.conf:/etc/pg.conf"],
            "directories": ["data:/var/lib/postgresql/data"],
            "network": "kamal",
        }
    }
    assert found["builder"]["args"] == {"A": "1", "TOKEN": "[redacted]"}
    assert "password" not in json.dumps(found).replace("POSTGRES_PASSWORD", "")


def test_without_a_version_the_rest_is_shown(tmp_path: Path) -> None:
    found = described(samples.config(tmp_path))
    assert "version" not in found and "absolute_image" not in found and found["repository"] == "own/shop"


def test_the_command_shows_it_where_nothing_is_committed(tmp_path: Path) -> None:
    code, out, err = freehold(tmp_path, "config", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert "version" not in found and found["accessories"]["db"]["proxy"]["host"] == "db.test"


def test_the_command_names_the_version_that_is_given(tmp_path: Path) -> None:
    code, out, err = freehold(tmp_path, "config", "--version", "v9")
    assert code == 0, err
    assert "absolute_image: own/shop:v9\n" in out
