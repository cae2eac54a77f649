"""Backups as values: what is asked of a host, and what is made of the answer."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.cli.backup import place_of
from deployer.cli.options import Target
from deployer.commands import backup, drill
from deployer.commands.backup import Archive, Source
from deployer.config.backups import BackupSettings, Kind, kind_of
from freehold.errors import ConfigError, UsageError
from tests.unit.deployer import samples


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


def test_the_host_of_an_accessory_is_chosen_as_every_host_is(tmp_path: Path) -> None:
    hosts = {"db": {"image": "postgres", "hosts": ["db-1", "db-2"]}}
    accessory = samples.config(tmp_path, accessories=hosts).accessory("db")
    assert place_of(accessory, Target(hosts=("*-2",))) == "db-2"
    for chosen in ((), ("db-*",), ("web-1",)):
        with pytest.raises(UsageError, match="runs on db-1, db-2"):
            place_of(accessory, Target(hosts=chosen))


@pytest.mark.parametrize("kind", ["postgres", "mysql", "sqlite", "volume"])
def test_scripts_of_backups_are_bash(kind: Kind) -> None:
    source = Source("db", "shop-db", kind, "/data/it's here")
    archive = Archive(f"20260131T120000000Z.{kind}.tar.gz", kind, 1, "abc")
    for script in (
        backup.create(source, archive.time),
        backup.listing(source),
        backup.restore(source, archive),
    ):
        samples.is_bash(script.render())


def test_a_list_of_backups() -> None:
    name = "20260131T120000000Z.postgres.tar.gz"
    (found,) = backup.parse_archives((f"backup\t{name}\t17\tabc", "removed another", "backup\tbroken"))
    assert (found.time, found.kind, found.size) == ("20260131T120000000Z", "postgres", 17)


def test_what_is_no_backup_is_neither_the_newest_nor_kept_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PLACE", str(tmp_path))
    source = Source("db", "shop-db", "postgres", keep=2)
    folder = tmp_path / "shop-db"
    folder.mkdir()
    names = [f"2026013{day}T120000000Z.postgres.tar.gz" for day in (0, 1)]
    names.append("20260201T120000000Z.postgres.tar.gz")
    strange = ["prod.postgres.tar.gz", "x y.postgres.tar.gz", "z.tar.gz", ".20260131T120000000Z.upload"]
    for name in (*names, *strange):
        (folder / name).touch()
        (folder / f"{name}.sha256").write_text("abc\n")
    found = backup.parse_archives(tuple(samples.run(backup.listing(source).steps[0].shell)))
    assert [archive.name for archive in found] == names
    (prune,) = (step for step in backup.create(source, "x").steps if step.name == "prune")
    assert samples.run(prune.shell) == [f"removed {names[0]}"]
    left = {path.name for path in folder.iterdir()}
    assert not {names[0], f"{names[0]}.sha256"} & left and {*names[1:], *strange} <= left


def test_before_a_restore_no_backup_is_removed() -> None:
    source = Source("db", "shop-db", "postgres")
    assert "prune" not in [step.name for step in backup.create(source, "x", prune=False).steps]


def test_a_file_from_elsewhere_is_restored_from_where_it_lies() -> None:
    source = Source("db", "shop-db", "volume", "/data")
    archive = Archive("pro d;x.volume.tar.gz", "volume", 1, "abc")
    assert (archive.made, archive.moment) == (None, archive.name)
    assert Archive("20261399T120000000Z.volume.tar.gz", "volume", 1, "").made is None
    path, receive = backup.upload(source, "20260131T120000000Z")
    samples.is_bash(receive)
    text = backup.restore(source, archive, path).render()
    assert path in text and archive.name not in text
    assert f"'{source.directory}/{archive.name}'" in backup.restore(source, archive).render()


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
        samples.is_bash(drill.ready(source).render())
        script = drill.read_back(source, "it's there")
        assert [step.name for step in script.steps] == ["read", "check"]
        samples.is_bash(script.render())
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
