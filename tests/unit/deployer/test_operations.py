"""Jobs, backups, status and differences as values: what is asked, and what is made of the answer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.commands import backup, difference, docker, drill, jobs, proxy, status
from deployer.commands.backup import Archive, Source
from deployer.config import DeployConfig
from deployer.config.backups import BackupSettings, Kind, kind_of
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import ConfigError
from tests.unit.deployer import samples

JOBS = {
    "tidy": {"schedule": "*/20 3 * * *", "cmd": "echo 'a b' > /x"},
    "later": {"schedule": "@weekly", "cmd": "y", "role": "jobs", "timezone": "Europe/Berlin"},
}


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret"},
        env={"clear": {"A": "1"}, "secret": ["TOKEN"]},
        jobs=JOBS,
    )


def is_bash(text: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def answer(step: str, *lines: str) -> ScriptResult:
    return ScriptResult("web-1", 0, (StepOutcome(step, "ok", 0.1, lines),))


# Jobs


def test_a_job_is_on_one_host_whatever_is_selected(config: DeployConfig) -> None:
    for chosen in (config, config.select(hosts=("web-2",)), config.select(roles=("jobs",))):
        assert [job.name for job in jobs.on_host(chosen, "web-1")] == ["tidy"]
        assert [job.name for job in jobs.on_host(chosen, "web-2")] == ["later"]


def test_units_of_a_job(config: DeployConfig) -> None:
    tidy, later = config.job("tidy"), config.job("later")
    text = jobs.timer(config, tidy)
    assert "OnCalendar=*-*-* 03:00,20,40:00 UTC\n" in text and "Persistent=true" in text
    assert "OnCalendar=Sun *-*-* 00:00:00 Europe/Berlin\n" in jobs.timer(config, later)
    assert "User=@USER@" in jobs.service(config, tidy)
    run = jobs.run_text(config, tidy, "v2")
    is_bash(run)
    assert "shop-web-v2" in run and "versions/v2/web.env" in run and "top secret" not in run
    for host in config.hosts:
        is_bash(jobs.store_fragment(config, host, "v2"))
    for version in ("v2", None):
        is_bash(jobs.install_step(config, version).shell)
    is_bash(jobs.list_script(config, "web-1").render())


def test_states_of_jobs() -> None:
    states = jobs.parse_states(
        (
            "next\ttidy\tMon 2026-02-02 03:00:00 UTC",
            "running\ttidy\t2026-01-31T12:00:00Z\tv2\tasked\tb.log",
            "run\ttidy\t2026-01-30T12:00:00Z\tv1\tschedule\ta.log\t3\t17",
            "run\tother\tbroken",
            "",
        )
    )
    assert states["tidy"].next == "Mon 2026-02-02 03:00:00 UTC"
    assert [(run.version, run.code, run.seconds) for run in states["tidy"].runs] == [
        ("v1", 3, 17),
        ("v2", None, None),
    ]
    assert states["other"].runs == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": "* * *", "cmd": "x"}, "expected five fields"),
        ({"schedule": "@daily"}, "'cmd' is missing"),
        ({"schedule": "@daily", "cmd": "x", "role": "wbe"}, "there is no role 'wbe'"),
        ({"schedule": "@daily", "cmd": "x", "host": "web-9"}, "'web-9' is no host of the role 'web'"),
        ({"schedule": "@daily", "cmd": "x", "when": "now"}, "unknown key 'when'"),
    ],
)
def test_a_job_that_cannot_be(tmp_path: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        samples.config(tmp_path, jobs={"tidy": change})
    assert caught.value.where is not None and caught.value.where.line


# Backups


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("postgres:17", "postgres"),
        ("ghcr.io/me/postgis:16", "postgres"),
        ("mysql:8", "mysql"),
        ("mariadb", "mysql"),
        ("redis:7", None),
        ("postgres-tools.example/redis", None),
    ],
)
def test_what_an_image_holds(image: str, kind: str | None) -> None:
    assert kind_of(image, BackupSettings()) == kind
    assert kind_of(image, BackupSettings(kind="volume", path="/data")) == "volume"


@pytest.mark.parametrize("kind", ["postgres", "mysql", "sqlite", "volume"])
def test_scripts_of_backups_are_bash(kind: Kind) -> None:
    source = Source("db", "shop-db", kind, "/data/it's here")
    archive = Archive(f"20260131T120000000Z.{kind}.tar.gz", kind, 1, "abc")
    for script in (
        backup.create(source, archive.time),
        backup.listing(source),
        backup.restore(source, archive),
    ):
        is_bash(script.render())


def test_a_list_of_backups() -> None:
    name = "20260131T120000000Z.postgres.tar.gz"
    (found,) = backup.parse_archives((f"backup\t{name}\t17\tabc", "removed another", "backup\tbroken"))
    assert (found.time, found.kind, found.size) == ("20260131T120000000Z", "postgres", 17)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"db": {"kind": "volume"}}, "needs 'path'"),
        ({"db": {"kind": "volume", "path": "/"}}, "whole file system"),
        ({"db": {"kind": "sqlite", "path": "/app.db"}}, "a directory of its own"),
        ({"db": {"kind": "oracle"}}, "expected one of"),
        ({"db": {"keep": 0}}, "too small"),
        ({"bd": {"keep": 1}}, "there is no accessory 'bd'"),
    ],
)
def test_a_backup_that_cannot_be(tmp_path: Path, entry: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        samples.config(tmp_path, backups=entry)


def test_a_drill_reads_everything(tmp_path: Path) -> None:
    for kind, path in (("postgres", ""), ("mysql", ""), ("sqlite", "/data/a.db"), ("volume", "/data")):
        source = backup.Source("db", "shop-db", kind, path)  # type: ignore[arg-type]
        is_bash(drill.ready(source).render())
        script = drill.read_back(source, "it's there")
        assert [step.name for step in script.steps] == ["read", "check"]
        is_bash(script.render())
    assert drill.parse_found(("found: a: 2 tables, 3 rows", "noise")) == ["a: 2 tables, 3 rows"]

    def look(file: Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", drill._SQLITE, file], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    file = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute('CREATE TABLE "odd ""name" (x)')
    assert look(file) == (1, "failed: no table holds a row\n")
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.executemany('INSERT INTO "odd ""name" VALUES (?)', [(n,) for n in range(5000)])
    assert look(file) == (0, "found: 1 tables, 5000 rows\n")
    with file.open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"x" * 4096)
    code, said = look(file)
    assert code == 1 and ("is damaged" in said or "malformed" in said)


# Status


def test_the_status_of_a_host(config: DeployConfig) -> None:
    cells = ("shop-web-v1", "running", "web", "", "v1", "172.30.0.9", "i", "id", "today", "Up 2 s")
    old = ("shop-web-v0", "exited", "web", "", "v0", "172.30.0.8", "i", "id", "today", "Exited (0)")
    result = ScriptResult(
        "web-1",
        0,
        (
            StepOutcome(
                "state",
                "ok",
                0.1,
                (
                    "container\t" + "\t".join(old),
                    "container\t" + "\t".join(cells),
                    "target\tshop-web\t172.30.0.9:3000",
                    "history\t2026-01-31T13:00:00Z v1",
                ),
            ),
            StepOutcome(
                "machine",
                "ok",
                0.1,
                (
                    "cpu\t100 1000",
                    "stats\tshop-web-v1\t1.50%\t20MiB / 4GiB",
                    "cpu\t150 1200",
                    "memory\tMemTotal:\t4000",
                    "memory\tMemAvailable:\t1000",
                    "disk\t 1000 400",
                    "load\t0.10",
                    "proxy\tactive",
                ),
            ),
            StepOutcome("probes", "ok", 0.1, ("probe\tweb\t503\tpaused",)),
        ),
    )
    found = status.parse_status(config, result)
    assert (found.version, found.cpu, found.load, found.proxy) == ("v1", 0.25, 0.1, "active")
    assert (found.memory_used, found.disk_used, found.disk_total, found.problem) == (3000, 600, 1000, "")
    first, second = found.containers
    assert (first.container, first.serves, first.health) == ("shop-web-v1", True, "answers 503")
    assert (first.mode, second.mode) == ("paused", "")
    assert (first.cpu, first.memory) == ("1.50%", "20MiB")
    assert (second.container, second.serves) == ("shop-web-v0", False)
    is_bash(status.status_script(config, "web-2").render())


# Differences


def running(config: DeployConfig, *env: str, secrets: tuple[str, ...] = ("TOKEN",)) -> ScriptResult:
    role = config.role("web")
    lines = [f"env\tweb\t{json.dumps(item)}" for item in env]
    lines += ["image\tweb\t" + json.dumps("PATH=/bin"), "secrets\tweb\t"]
    lines += [f"secrets\tweb\t{name}" for name in secrets]
    lines += [f"run\tweb\t{line}" for line in docker.manner(config, role, "v1", "web-1")]
    for path, text in proxy.files(config, config.roles_on("web-1"), "web-1").items():
        lines += [f"route\t{path}\t{line}" for line in text.splitlines()]
    return answer("running", *lines)


def shown(config: DeployConfig, result: ScriptResult) -> list[str]:
    return [f"{change.sign} {change.what}" for change in difference.changes(config, result)]


def test_nothing_differs(config: DeployConfig) -> None:
    env = ("PATH=/bin", "KAMAL_VERSION=v1", "KAMAL_HOST=web-1", "A=1", "TOKEN=top secret")
    assert shown(config, running(config, *env)) == []
    is_bash(difference.question(config, "web-2").render())


def test_values_of_secrets_are_never_shown(config: DeployConfig, tmp_path: Path) -> None:
    env = ("A=old", "TOKEN=another", "GONE=was secret", "LEFT=in the clear")
    found = shown(config, running(config, *env, secrets=("TOKEN", "GONE")))
    assert found == ["~ A: old → 1", "- GONE=[secret]", "- LEFT=in the clear", "~ TOKEN changed (secret)"]
    # A version that kept no list: any of its values may have been one.
    listed = running(config, *env)
    lines = tuple(line for line in listed.lines("running") if not line.startswith("secrets"))
    found = shown(config, answer("running", *lines))
    assert "~ A: [secret] → 1" in found and "- LEFT=[secret]" in found


def test_options_and_routes_that_differ(config: DeployConfig, tmp_path: Path) -> None:
    env = ("A=1", "TOKEN=top secret")
    before = running(config, *env)
    changed = samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret"},
        env={"clear": {"A": "1"}, "secret": ["TOKEN"]},
        volumes=["data:/data"],
        proxy={"host": "shop.test", "app_port": 3000, "response_timeout": 5},
    )
    found = shown(changed, before)
    assert "+ --volume data:/data" in found and "+ response_header_timeout 5s" in found
    assert not any("top secret" in line for line in found)
    nothing = difference.changes(config, answer("running"))
    assert [change.what for change in nothing if change.kind == "container"] == ["nothing runs yet"]
