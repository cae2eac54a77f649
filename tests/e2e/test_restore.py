"""Backups of production restored in a machine that mirrors its host, and read there: drills for real.

The tests tell one story, in their order; the lab is the one that all end-to-end tests share.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.e2e.production import Production
from tests.tarball import tarball

# job-1 alone; what the accessory keeps is backed up as a database first, then as plain files.
DEPLOY = """\
service: shop
image: freehold/shop
servers:
  - web-1.example.com
ssh:
  user: deploy
accessories:
  store:
    image: hello-base
    host: 203.0.113.8
    cmd: sleep infinity
    directories: ["data:/data"]
    options: {stop-timeout: "1"}
backups:
  store: """
DATABASE = DEPLOY + "{kind: sqlite, path: /data/shop.sqlite3, drill: wc -c /data/shop.sqlite3}\n"
FILES = DEPLOY + "{kind: volume, path: /data}\n"
PAGE = 4096


def database(path: Path, orders: int) -> bytes:
    """A file of SQLite with so many orders, and one row besides where there are any."""
    with closing(sqlite3.connect(path)) as made, made:
        made.execute(f"PRAGMA page_size={PAGE}")
        made.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, note TEXT)")
        made.executemany("INSERT INTO orders (note) VALUES (?)", [("kept",)] * orders)
        made.execute("CREATE TABLE seal (state TEXT)")
        made.executemany("INSERT INTO seal VALUES (?)", [("unbroken",)] * bool(orders))
    return path.read_bytes()


def packed(path: Path, data: bytes) -> Path:
    """A backup of that database, as `backup get` fetches it from production."""
    path.write_bytes(gzip.compress(tarball({"./shop.sqlite3": data})))
    return path


@dataclass(frozen=True)
class Store:
    """The accessory on its machine, and a backup of two days ago with the database that is in it."""

    lab: Lab
    production: Production
    backup: Path
    data: bytes

    @property
    def file(self) -> Path:
        """The deploy file."""
        return self.production.root / "config" / "kept.yml"

    def freehold(self, *words: str, expect: int = 0) -> str:
        """Run a command of the accessory against the lab."""
        return self.production.freehold(*words, "--lab", "-c", "config/kept.yml", expect=expect)

    def inside(self, *argv: str) -> str:
        """Run a program in its container."""
        return self.lab.exec("job-1", ["docker", "exec", "shop-store", *argv]).stdout

    def ask(self, statement: str) -> list[list[object]]:
        """What its database answers, asked there."""
        text = (
            "import json, sqlite3, sys\nwith sqlite3.connect('/data/shop.sqlite3') as database:\n"
            "    print(json.dumps(database.execute(sys.argv[1]).fetchall()))"
        )
        answer: list[list[object]] = json.loads(self.inside("python3", "-c", text, statement))
        return answer

    def on_disk(self) -> bytes:
        """Its database as it lies on the machine's disk."""
        read = ["sudo", "base64", "shop-store/data/shop.sqlite3"]
        return base64.b64decode(self.lab.exec("job-1", read).stdout)


@pytest.fixture(scope="module")
def store(lab: Lab, production: Production, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Nothing of it runs yet."""
    place = tmp_path_factory.mktemp("backup")
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    data = database(place / "shop.sqlite3", 700)
    backup = packed(place / f"{made:%Y%m%dT%H%M%S}000Z.sqlite.tar.gz", data)
    production.freehold("image", "base", "hello-base", "--packages", "python3")
    one = Store(lab, production, backup, data)
    one.file.write_text(DATABASE)
    yield one
    one.freehold("accessory", "remove", "store", "-y")
    one.file.unlink()


def test_a_drill_restores_a_backup_in_a_machine_and_reads_it(store: Store) -> None:
    """Into an accessory that nobody has started yet."""
    there = ["docker", "ps", "-a", "--format", "{{.Names}}"]
    assert "shop-store" not in store.lab.exec("job-1", there).stdout
    said = store.freehold("backup", "drill", "store", "--file", str(store.backup))
    # The file's own check reads in the container.
    assert f"{len(store.data)} /data/shop.sqlite3" in said, said
    (row,) = (line.split() for line in said.splitlines() if line.startswith("store "))
    assert row[:4] == ["store", store.backup.name.partition(".")[0], "48", "h"], said
    assert row[-4:] == ["2", "tables,", "701", "rows"], said
    assert store.on_disk() == store.data
    assert store.ask("SELECT count(*), max(note) FROM orders") == [[700, "kept"]]


def test_what_a_machine_lost_comes_back_from_a_file(store: Store, tmp_path: Path) -> None:
    store.ask("DELETE FROM orders")
    lost = store.on_disk()
    assert lost != store.data
    said = store.freehold("backup", "restore", "store", "--file", str(store.backup), "-y")
    assert "restored: /data" in said, said
    assert store.on_disk() == store.data
    # What was there before is the machine's newest backup.
    before = tmp_path / "before.sqlite.tar.gz"
    store.freehold("backup", "get", "store", "-o", str(before))
    with tarfile.open(before) as archive:
        found = archive.extractfile("./shop.sqlite3")
        assert found is not None and found.read() == lost


def test_a_damaged_backup_fails_and_says_why(store: Store, tmp_path: Path) -> None:
    torn = tmp_path / "torn.sqlite.tar.gz"
    torn.write_bytes(store.backup.read_bytes()[:-100])
    for words in (("drill", "store", "--json", "-q"), ("restore", "store", "-y", "--no-backup")):
        said = store.freehold("backup", *words, "--file", str(torn), expect=1)
        assert "unexpected end of file" in said, said
        assert store.on_disk() == store.data
    # A whole archive, of a database that cannot be read.
    spoiled = store.data[:PAGE] + b"x" * PAGE + store.data[2 * PAGE :]
    local = packed(tmp_path / "spoiled.sqlite.tar.gz", spoiled)
    said = store.freehold("backup", "drill", "store", "--file", str(local), expect=1)
    assert "malformed" in said and "can be restored and read" not in said, said
    assert store.on_disk() == spoiled


def test_files_come_back_with_their_owners_and_modes(store: Store, tmp_path: Path) -> None:
    store.file.write_text(FILES)
    fill = "cd /data; rm -f *; mkdir d; echo one >a; echo three >d/.b; chown 7:8 a; chmod 640 a"
    store.inside("sh", "-c", fill)
    path = tmp_path / "files.volume.tar.gz"
    store.freehold("backup", "create", "store")
    store.freehold("backup", "get", "store", "-o", str(path))
    store.inside("sh", "-c", "cd /data; rm -r d; echo other >a; echo new >c")
    (drilled,) = json.loads(store.freehold("backup", "drill", "store", "--file", str(path), "--json", "-q"))
    assert (drilled["accessory"], drilled["host"]) == ("store", "203.0.113.8")
    assert (drilled["backup"], drilled["found"]) == ("files.volume.tar.gz", ["2 files, 10 bytes"])
    assert (drilled["age"], drilled["error"]) == (None, "")
    look = "cd shop-store/data && cat a d/.b && stat -c '%u:%g %a' a && ls -A"
    found = store.lab.exec("job-1", ["sudo", "sh", "-c", look]).stdout.split()
    assert found == ["one", "three", "7:8", "640", "a", "d"]
    # Neither of the files that were brought along has stayed.
    kept = store.lab.exec("job-1", ["ls", "-A", "/var/lib/freehold/backups/shop-store"]).stdout
    assert "upload" not in kept and kept.count(".sha256") == 2
