"""What is derived: roles, environments, selections, accessories, names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from deployer.config import Env
from deployer.config.hooks import hook_environment, shows_output
from deployer.config.pattern import matching
from deployer.config.servers import Boot
from deployer.config.shorthand import option_arguments
from freehold.errors import ConfigError, UsageError
from freehold.secret import Secret
from tests.unit.deployer import samples
from tests.unit.deployer.config.project import Project

FLEET = """\
service: app
servers:
  web:
    hosts: [web-1: [eu, canary], web-2: eu, web-3]
    labels: {own: "1"}
    asset_path: /assets:ro
  job:
    hosts: [job-1, web-1]
    cmd: bin/jobs
    env: {clear: {ROLE: job}, secret: [TOKEN:JOB_TOKEN]}
    logging: {options: {max-file: 3}}
    stop_timeout: 1m
  api: {hosts: [web-2], proxy: {path_prefix: /api}}
labels: {all: "1"}
asset_path: /public
stop_timeout: 5
logging: {driver: local, options: {max-size: 5m}}
proxy: {host: example.com, app_port: 3000, healthcheck: {path: /health}, response_timeout: 90}
env:
  clear: {A: root, ROLE: none}
  secret: [TOKEN, KEY]
  tags:
    eu: {A: eu}
    canary: {clear: {CANARY: true}, secret: [A:CANARY_A]}
accessories:
  db: {image: postgres:17, roles: [job, web], port: 5432, env: {secret: [POSTGRES_PASSWORD:KEY]},
       files: [my.cnf:/etc/my.cnf:ro],
       directories: [data:/var/lib/pg, {local: /srv/x, remote: /x, mode: "0750"}]}
  cache: {image: redis, tag: eu, service: redis, registry: {server: r.example}, port: "127.0.0.1:6379:6379"}
  front: {image: caddy, hosts: [lb-1], proxy: {host: front.example.com}}
"""


@pytest.fixture
def fleet(project: Project) -> Project:
    project.write("config/deploy.yml", FLEET)
    project.write(".freehold/secrets", "TOKEN=t\nKEY=k\nJOB_TOKEN=jt\nCANARY_A=ca\n")
    return project


def test_environment_by_role_and_host(fleet: Project) -> None:
    config = fleet.load()
    web, job = config.role("web"), config.role("job")
    assert config.env_for(web) == ({"A": "root", "ROLE": "none"}, {"TOKEN": Secret("t"), "KEY": Secret("k")})
    assert config.env_for(web, "web-2")[0]["A"] == "eu"
    clear, secret = config.env_for(web, "web-1")
    assert (clear, secret["A"]) == ({"ROLE": "none", "CANARY": "true"}, Secret("ca"))
    clear, secret = config.env_for(job, "web-1")
    assert (clear, secret["TOKEN"]) == ({"A": "root", "ROLE": "job"}, Secret("jt"))


def test_a_missing_secret_names_who_asks(fleet: Project) -> None:
    fleet.write(".freehold/secrets", "TOKN=t\n")
    config = fleet.load()
    with pytest.raises(ConfigError) as caught:
        config.env_for(config.role("web"))
    assert "'TOKEN', which config/deploy.yml servers.web.env.secret asks for" in caught.value.message
    assert ".freehold/secrets" in caught.value.message
    assert "did you mean 'TOKN'?" in caught.value.hint


def test_roles_inherit_what_they_do_not_say(fleet: Project) -> None:
    config = fleet.load()
    web, job, api = config.roles
    assert (web.labels, job.labels) == ({"all": "1", "own": "1"}, {"all": "1"})
    assert (web.stop_timeout, job.stop_timeout) == (5.0, 60.0)
    assert (web.asset_path, web.asset_options, job.asset_path, api.asset_path) == (
        "/assets",
        "ro",
        None,
        "/public",
    )
    assert job.logging.arguments() == (
        *("--log-driver", "local"),
        *("--log-opt", "max-size=5m", "--log-opt", "max-file=3"),
    )
    assert job.proxy is None
    assert api.proxy is not None
    assert (api.proxy.names, api.proxy.prefixes, api.proxy.app_port) == (("example.com",), ("/api",), 3000)
    assert (api.proxy.healthcheck.path, api.proxy.response_timeout) == ("/health", 90)


@pytest.mark.parametrize(
    ("said", "prefixes", "warned"),
    [
        ("path_prefix: api", ("/api",), 0),
        ("path_prefix: 'api/,/v2/x/'", ("/api", "/v2/x"), 0),
        ("path_prefix: /", ("/",), 0),
        ("path_prefixes: [api, /v2/]", ("/api", "/v2"), 0),
        ("path_prefix: /a, path_prefixes: [b]", ("/b",), 1),
        ("path_prefix:", (), 0),
    ],
)
def test_paths_are_taken_as_kamals_proxy_takes_them(
    project: Project, said: str, prefixes: tuple[str, ...], warned: int
) -> None:
    config = project.load(f"service: a\nservers: [h]\nproxy: {{{said}, healthcheck: {{path: up}}}}\n")
    proxy = config.roles[0].proxy
    assert proxy is not None
    assert (proxy.prefixes, proxy.healthcheck.path) == (prefixes, "/up")
    assert [w for w in config.warnings if "'path_prefix' does not count" in w] == list(config.warnings)
    assert len(config.warnings) == warned


def test_a_prefix_with_a_space_is_none(project: Project) -> None:
    with pytest.raises(ConfigError, match="'a b' does not have the right form; for example '/api'"):
        project.load("service: a\nservers: [h]\nproxy: {path_prefix: a b}\n")


def test_accessories(fleet: Project) -> None:
    config = fleet.load()
    db, cache, front = config.accessories
    assert (db.service, db.hosts, db.publish) == ("app-db", ("job-1", "web-1", "web-2", "web-3"), "5432:5432")
    assert [db.file_path(mount) for mount in db.files] == ["app-db/etc/my.cnf"]
    assert [db.directory_path(mount) for mount in db.directories] == ["app-db/data", "/srv/x"]
    assert db.directories[1].mode == "0750"
    assert config.accessory_env(db)[1] == {"POSTGRES_PASSWORD": Secret("k")}
    assert (cache.service, cache.image, cache.hosts) == ("redis", "r.example/redis", ("web-1", "web-2"))
    assert cache.publish == "127.0.0.1:6379:6379"
    assert front.proxy is not None
    assert front.proxy.app_port == 80
    assert config.all_hosts == ("web-1", "web-2", "web-3", "job-1", "lb-1")
    assert config.accessories_on("lb-1") == (front,)
    with pytest.raises(UsageError) as caught:
        config.accessory("bd")
    assert "there are: db, cache, front" in caught.value.hint or "did you mean" in caught.value.hint


@pytest.mark.parametrize(
    ("hosts", "roles", "primary", "expected"),
    [
        (("web-*",), (), False, {"web": 3, "job": 1, "api": 1}),
        (("{web-1,job-1}",), (), False, {"web": 1, "job": 2}),
        ((), ("w*",), False, {"web": 3}),
        (("web-2",), ("{web,api}",), False, {"web": 1, "api": 1}),
        ((), (), True, {"web": 1, "job": 1}),
        ((), ("job",), True, {"job": 1}),
    ],
)
def test_select(
    fleet: Project, hosts: tuple[str, ...], roles: tuple[str, ...], primary: bool, expected: dict[str, int]
) -> None:
    config = fleet.load().select(hosts, roles, primary)
    assert {role.name: len(role.hosts) for role in config.roles} == expected


@pytest.mark.parametrize(
    ("hosts", "roles", "primary", "expected"),
    [
        ((), (), False, {"db": 4, "cache": 2, "front": 1}),
        (("lb-1",), (), False, {"front": 1}),
        ((), ("job",), False, {"db": 2, "cache": 1}),
        (("web-*",), ("job",), False, {"db": 1, "cache": 1}),
        ((), ("job",), True, {"db": 1}),
    ],
)
def test_select_accessories(
    fleet: Project, hosts: tuple[str, ...], roles: tuple[str, ...], primary: bool, expected: dict[str, int]
) -> None:
    config = fleet.load().select(hosts, roles, primary)
    assert {item.name: len(item.hosts) for item in config.accessories} == expected


def test_a_host_of_other_roles_is_no_match(fleet: Project) -> None:
    with pytest.raises(UsageError) as caught:
        fleet.load().select(hosts=["lb-1"], roles=["job"])
    assert caught.value.message == "no host of job matches lb-1"
    assert "job-1" in caught.value.hint


def test_select_nothing_is_an_error_with_the_near_miss(fleet: Project) -> None:
    with pytest.raises(UsageError) as caught:
        fleet.load().select(hosts=["web1"])
    assert caught.value.hint == "did you mean 'web-1'?"
    with pytest.raises(UsageError) as caught:
        fleet.load().select(roles=["jobs"])
    assert caught.value.hint == "did you mean 'job'?"


def test_accessories_alone_are_a_configuration(project: Project) -> None:
    config = project.load("service: a\naccessories: {db: {image: x, host: h}}\n")
    assert config.all_hosts == ("h",)
    with pytest.raises(ConfigError, match="names no servers"):
        _ = config.primary_host


def test_what_is_on_top_wins_whether_clear_or_secret() -> None:
    base = Env({"A": "1", "B": "2"}, ("C", "D:X"))
    assert base.merged(Env({"C": "3"}, ("A",))) == Env({"B": "2", "C": "3"}, ("D:X", "A"))


def test_local_registry_is_not_part_of_the_name(project: Project) -> None:
    base = "service: a\nservers: [h]\n"
    assert project.load(base + "registry: {server: localhost:5555}\n").image_name("1") == "a:1"
    assert (
        project.load(base + "image: me/a\nregistry: {server: ghcr.io}\n").image_name("1") == "ghcr.io/me/a:1"
    )


@pytest.mark.parametrize(
    ("limit", "hosts", "size"), [(None, 7, 7), (3, 7, 3), ("25%", 8, 2), ("10%", 5, 1), ("2", 5, 2)]
)
def test_boot_groups(limit: int | str | None, hosts: int, size: int) -> None:
    assert Boot(limit=limit).group_size(hosts) == size


def test_conflicting_proxies_on_one_host(project: Project) -> None:
    error = project.error(
        "service: a\nservers:\n  web: {hosts: [h], proxy: {host: a.b, run: {http_port: 8080}}}\n"
        "  api: {hosts: [h], proxy: {host: c.d, run: {http_port: 80}}}\n"
    )
    assert "the proxy of h would have to run in two ways: servers.web and servers.api differ" in error.message
    assert error.where is not None
    assert error.where.line == 4


def test_a_tag_that_no_host_has_is_warned_of(project: Project) -> None:
    config = project.load("service: a\nservers: [h: x]\nenv:\n  tags:\n    x: {A: 1}\n    y: {A: 2}\n")
    assert [warning.rpartition(": ")[2] for warning in config.warnings] == ["no host has the tag 'y'"]


def test_option_arguments() -> None:
    assert option_arguments(
        {"memory": "2g", "publish": ("80:80", "81:81"), "init": True, "tty": False, "restart": "no"}
    ) == ("--memory", "2g", "--publish", "80:80", "--publish", "81:81", "--init")


def test_patterns() -> None:
    assert matching(["a{1,2}", "b?"], ["a1", "a2", "a3", "b1", "b10"]) == ("a1", "a2", "b1")


def test_hooks_are_told_what_kamal_tells_them(fleet: Project) -> None:
    sha = "0123456789abcdef0123456789abcdef01234567"
    told = hook_environment(
        fleet.load(),
        version=sha,
        performer="me@example.com",
        recorded_at="2026-01-02T03:04:05Z",
        command="deploy",
        hosts=["web-1", "web-2"],
        runtime=12.6,
    )
    assert told == {
        "KAMAL_RECORDED_AT": "2026-01-02T03:04:05Z",
        "KAMAL_PERFORMER": "me@example.com",
        "KAMAL_VERSION": sha,
        "KAMAL_SERVICE_VERSION": "app@0123456",
        "KAMAL_SERVICE": "app",
        "KAMAL_HOSTS": "web-1,web-2",
        "KAMAL_COMMAND": "deploy",
        "KAMAL_RUNTIME": "13",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", (None, None)), (":verbose", (True, True)), ("{pre-deploy: ':quiet'}", (False, None))],
)
def test_output_of_hooks(project: Project, text: str, shown: tuple[bool | None, bool | None]) -> None:
    config = project.load(f"service: a\nservers: [h]\nhooks_output: {text}\n")
    assert (shows_output(config, "pre-deploy"), shows_output(config, "post-deploy")) == shown


def test_volumes_below_the_home_of_whoever_logs_in(project: Project) -> None:
    written = ["~/a:/a", "$HOME/b:/b:ro", "$PWD/c:/c", "${PWD}/d:/d", "$(pwd)/e:/e", "~:/f"]
    plain = ["${HOME}/g:/g", "data:/~/h", "/srv/$HOME:/i", "~me/j:/j", "$HOMES/k:/k"]
    volumes = json.dumps([*written, *plain])
    config = project.load(
        "service: a\nimage: b\nservers: [h]\n"
        f"volumes: {volumes}\naccessories: {{db: {{image: x, host: h, volumes: {volumes}}}}}\n"
    )
    homely = [f"${{HOME}}/{name}:/{name}" for name in "abcde"]
    homely[1] += ":ro"
    assert list(config.volumes) == [*homely, "${HOME}:/f", *plain]
    assert config.accessory("db").volumes == config.volumes


def test_a_name_that_is_clear_and_secret_is_told(project: Project) -> None:
    both = "env: {clear: {A: clear, B: clear}, secret: ['A:OTHER', C]}"
    config = project.load(
        f"service: a\nimage: b\n{both}\nservers:\n  web:\n    hosts: [h]\n    {both}\n"
        f"  job: {{hosts: [h], env: {{secret: [B]}}}}\n"
        f"accessories:\n  db:\n    image: x\n    host: h\n    {both}\n"
    )
    assert [warning.partition(": ")[2] for warning in config.warnings] == [
        "A is a secret too, and that counts; with Kamal the clear value does"
    ] * 3
    assert [warning.split(":")[1] for warning in config.warnings] == ["3", "7", "13"]


def test_roles_without_hosts_leave_nothing_to_work_on(tmp_path: Path) -> None:
    servers = {"web": ["web-1"], "jobs": {"hosts": [], "cmd": "work"}}
    config = samples.config(tmp_path, allow_empty_roles=True, servers=servers)
    assert config.hosts == config.all_hosts == ("web-1",)
    for ask in ("hosts", "primary_host", "lock_host"):
        with pytest.raises(UsageError, match="no host is left to work on") as caught:
            getattr(config.select(roles=["jobs"]), ask)
        assert caught.value.exit_code == 2
    database = {"db": {"image": "postgres", "host": "db-1"}}
    whole = samples.config(tmp_path, allow_empty_roles=True, servers=servers, accessories=database)
    only = dataclasses.replace(whole, roles=(whole.role("jobs"),))
    assert only.all_hosts == ("db-1",) and only.lock_host == "db-1"
