"""Backups of real databases and files: made while they run, restored as they were, never half."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.conftest import reset
from tests.integration.app import databases, images, stores
from tests.integration.app.project import Project, squeezed
from tests.integration.app.stores import LITE, LOOK, MERGE, PASSWORD, lite, maria, sql
from tests.integration.app.twin import rehearsing
from tests.rig import Host, Rig


@pytest.fixture(scope="module")
def project(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A database and a directory of files, begun once: no test leaves them without what it found."""
    hosts = (rig["web-1"], rig["web-2"])
    reset(hosts[0])
    made = Project(rig, hosts, tmp_path_factory.mktemp("project"))
    stores.describe(made)
    stores.begin(made, hosts[0])
    yield made
    hosts[0].reset()


COUNT = "SELECT count(*), max(note) FROM orders"


def test_a_database_comes_back(project: Project) -> None:
    host = project.hosts[0]
    first = json.loads(project.freehold("backup", "create", "postgres", "--json").stdout)
    assert first["kind"] == "postgres" and first["size"] > 1000
    modes = host.exec("stat -c '%a %U' /var/lib/freehold/backups/shop-postgres/*").stdout.split("\n")
    assert set(modes) == {"600 deploy", ""}

    # Restored while clients are connected, after the data was lost.
    sql(host, "UPDATE orders SET note = 'lost'; DELETE FROM orders WHERE id > 10", "the shop")
    host.exec("docker exec -d shop-postgres psql -U postgres -d 'the shop' -c 'SELECT pg_sleep(600)'")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
    project.until(lambda: sql(host, sleeping) == "1", "a client")
    said = squeezed(project.freehold("backup", "restore", "postgres", first["name"], "-y"))
    assert "restored: the shop (2 tables)" in said, said
    assert sql(host, COUNT, "the shop") == "500|order 99"
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'"
    assert sql(host, owner, "the shop") == "clerk"
    left = "SELECT datname FROM pg_database WHERE datname LIKE '%restored' OR datname LIKE '%replaced'"
    assert sql(host, left) == ""

    # What was there before the restore was backed up; only the last two are kept.
    project.freehold("backup", "create", "postgres")
    names = [
        row["name"] for row in json.loads(project.freehold("backup", "list", "postgres", "--json").stdout)
    ]
    assert len(names) == 2 and first["name"] not in names
    project.freehold("backup", "get", "postgres", names[0])
    local = project.directory / names[0]
    assert local.stat().st_mode & 0o777 == 0o600

    # A backup from this computer; the state with the lost rows comes back, as that is what it holds.
    project.freehold("backup", "restore", "postgres", "--file", str(local), "-y", "--no-backup")
    assert sql(host, COUNT, "the shop") == "10|lost"


def test_a_restore_that_fails_changes_nothing(project: Project) -> None:
    host = project.hosts[0]
    before = sql(host, COUNT, "the shop")
    made = json.loads(project.freehold("backup", "create", "postgres", "--json").stdout)
    path = f"/var/lib/freehold/backups/shop-postgres/{made['name']}"
    host.exec(f"printf x | dd of={path} bs=1 seek=200 conv=notrunc status=none")
    said = squeezed(project.freehold("backup", "restore", "postgres", "-y", "--no-backup", expect=1))
    assert "the backup is damaged" in said, said
    # Whole, but not what it says: the dump inside is broken.
    host.exec(
        f"cd $(mktemp -d) && echo 'the shop' >databases && : >globals.sql && echo nonsense >1.dump && "
        f"tar -czf {path} . && sha256sum <{path} | cut -d' ' -f1 >{path}.sha256"
    )
    said = squeezed(project.freehold("backup", "restore", "postgres", "-y", "--no-backup", expect=1))
    assert "does not appear to be a valid archive" in said, said
    assert sql(host, COUNT, "the shop") == before
    host.exec("docker stop --time 2 shop-postgres")
    try:
        said = squeezed(project.freehold("backup", "create", "postgres", expect=1))
    finally:
        host.exec("docker start shop-postgres")
    assert "shop-postgres does not run" in said, said
    assert ".new" not in host.exec("ls -A /var/lib/freehold/backups/shop-postgres").stdout
    said = squeezed(project.freehold("backup", "create", "cache", expect=2))
    assert "there is no accessory 'cache'" in said, said


def test_mariadb_comes_back_as_it_was(project: Project) -> None:
    host, shop = project.hosts[0], "the `shop"
    first = json.loads(project.freehold("backup", "create", "maria", "--json").stdout)
    whole = "SELECT COUNT(*), MAX(note) FROM orders; SELECT COUNT(*) FROM late; CALL many(); SHOW TABLES"
    before = maria(host, whole, shop)
    assert before == "500 order 99 € 100 500 late orders seen"
    lost = "DELETE FROM orders WHERE id > 10; DROP VIEW late; CREATE TABLE late (a int); DROP TRIGGER noted"
    maria(host, f"{lost}; CREATE TABLE since (a int); ALTER DATABASE CHARACTER SET utf8mb4", shop)
    after = maria(host, "SELECT COUNT(*) FROM orders; SHOW TABLES", shop)

    path = f"/var/lib/freehold/backups/shop-maria/{first['name']}"
    host.exec(f"cp {path} /tmp/good")
    for damage, why in (
        # One of the two dumps is broken: neither database is touched.
        ("grep -l orders *.sql | xargs sed -i 's/^INSERT INTO/INSART INTO/'", "INSART"),
        # As dumps once were: they named their databases, and would be read straight into them.
        (
            "rm *.text; sed -i '1i USE `the ``shop`; DROP TABLE orders;' *.sql",
            "an earlier version made this backup",
        ),
    ):
        host.exec(
            f"cd $(mktemp -d) && tar -xzf /tmp/good && {{ {damage}; }} && "
            f"tar -czf {path} . && sha256sum <{path} | cut -d' ' -f1 >{path}.sha256"
        )
        said = squeezed(project.freehold("backup", "restore", "maria", "-y", "--no-backup", expect=1))
        assert why in said, said
        assert maria(host, "SELECT COUNT(*) FROM orders; SHOW TABLES", shop) == after
        assert "restored" not in maria(host, "SHOW DATABASES")
    # In place: the file stays that of the user who made it.
    host.exec(f"cat /tmp/good >{path} && sha256sum <{path} | cut -d' ' -f1 >{path}.sha256")

    said = squeezed(project.freehold("backup", "restore", "maria", first["name"], "-y"))
    assert f"restored: {shop} (2 tables)" in said and "restored: side (1 tables)" in said, said
    assert maria(host, whole, shop) == before
    assert maria(host, "SELECT @@character_set_database", shop) == "latin2"
    assert maria(host, "DELETE FROM orders WHERE id = 7; SELECT number FROM seen", shop) == "7"
    assert "later" in maria(host, "SHOW EVENTS", shop)
    listed = host.exec("ps -eo args").stdout
    assert PASSWORD not in listed


def test_sqlite_comes_back_whole_though_it_is_being_written(project: Project) -> None:
    host = project.hosts[0]
    inside = ("docker", "exec", "shop-lite", "python3", "-c")
    project.until(lambda: lite(host)[1] > 10, "some rows")
    least = lite(host)[1]
    project.freehold("backup", "create", "lite")
    most = lite(host)[1]
    # What has been written since the start is in the journal alone.
    assert int(host.exec((*inside, f"import os; print(os.path.getsize('{LITE}-wal'))")).stdout) > 10_000
    # The file is no database any more, and its program ends over and over: when a restore is wanted most.
    host.exec((*inside, f"for end in ('', '-wal', '-shm'): open('{LITE}' + end, 'wb').write(b'x' * 5000)"))
    host.exec("docker restart --time 1 shop-lite")
    count = "docker inspect --format '{{.RestartCount}}' shop-lite"
    project.until(lambda: int(host.exec(count).stdout) > 1, "a program that ends over and over")
    project.freehold("backup", "create", "lite")
    names = [row["name"] for row in json.loads(project.freehold("backup", "list", "lite", "--json").stdout)]
    project.freehold("backup", "restore", "lite", names[0], "-y")
    project.until(lambda: "ok" in host.exec((*inside, LOOK), check=False).stdout, "the program")
    said, left, right = lite(host)
    # Both sides of every transaction; those since the start of the program are new.
    assert (said, left) == ("ok", right) and least <= left
    # One that was stopped on purpose stays so.
    host.exec("docker stop shop-lite")
    project.freehold("backup", "restore", "lite", names[0], "-y", "--no-backup")
    assert host.exec("docker inspect --format '{{.State.Running}}' shop-lite").stdout == "false\n"
    look = f"docker run --rm --volumes-from shop-lite {images.APP} python3 -c {shlex.quote(LOOK)}"
    said, first, second = host.exec(look).stdout.split()
    assert (said, first) == ("ok", second) and least <= int(first) <= most
    host.exec("docker start shop-lite")


def test_files_come_back(project: Project) -> None:
    host = project.hosts[0]
    inside = ("docker", "exec", "shop-files", "bash", "-c")
    host.exec(
        (
            *inside,
            "mkdir -p /data/files/d; cd /data/files; echo one >a; echo two >d/.b; chown 7:8 a; chmod 640 a",
        )
    )
    # Held while they are read, unless the file says that they need not be.
    held = (
        "docker events --since {} --until $(date +%s.%N) --filter container=shop-files --filter event=pause"
    )
    for pause in (False, True):
        project.config["backups"]["files"]["pause"] = pause
        project.save()
        since = host.exec("date +%s.%N").stdout.strip()
        project.freehold("backup", "create", "files")
        assert bool(host.exec(held.format(since)).stdout) is pause
    host.exec((*inside, "cd /data/files; rm -r d; echo other >a; echo new >c"))
    project.freehold("backup", "restore", "files", "-y")
    found = host.exec((*inside, "cd /data/files; cat a d/.b; stat -c '%u:%g %a' a; ls -A")).stdout.split()
    assert found == ["one", "two", "7:8", "640", "a", "d"]
    names = [row["name"] for row in json.loads(project.freehold("backup", "list", "files", "--json").stdout)]
    # The state of before the restore.
    project.freehold("backup", "restore", "files", names[-1], "-y", "--no-backup")
    assert host.exec((*inside, "cat /data/files/a; ls -A /data/files")).stdout.split() == ["other", "a", "c"]


def test_a_restore_takes_no_backup_away(project: Project) -> None:
    """Neither the oldest one, which is the one that is restored, nor a file that is brought along."""
    host = project.hosts[0]
    inside = ("docker", "exec", "shop-files", "bash", "-c")
    project.config["backups"]["files"]["keep"] = 2
    project.save()

    def names() -> list[str]:
        listed = json.loads(project.freehold("backup", "list", "files", "--json").stdout)
        return [row["name"] for row in listed]

    for word in ("first", "second", "third"):
        host.exec((*inside, f"mkdir -p /data/files; echo {word} >/data/files/word"))
        project.freehold("backup", "create", "files")
    before = names()
    assert len(before) == 2
    project.freehold("backup", "restore", "files", before[0], "-y")
    assert host.exec((*inside, "cat /data/files/word")).stdout == "second\n"
    after = names()
    assert after[:2] == before and len(after) == 3

    # A name of one's own: it tells the kind, and joins the host's backups as little as any other file.
    local = project.directory / "it's production; ls.volume.tar.gz"
    project.freehold("backup", "get", "files", before[1], "-o", str(local))
    said = squeezed(project.freehold("backup", "restore", "files", "--file", str(local), "-y"))
    assert "as it was at it's production" in said, said
    assert host.exec((*inside, "cat /data/files/word")).stdout == "third\n"
    assert names()[:3] == after and len(names()) == 4
    assert "upload" not in host.exec("ls -A /var/lib/freehold/backups/shop-files").stdout
    project.freehold("backup", "create", "files")
    assert len(names()) == 2


@pytest.fixture
def twin(project: Project) -> Iterator[Host]:
    """`web-2` as the lab's machine for `web-1`, with the databases' image."""
    with rehearsing(project, "web-1", "web-2") as host:
        databases.load(host)
        yield host


def test_a_drill_restores_productions_backup_in_the_lab_and_reads_it(project: Project, twin: Host) -> None:
    production = project.hosts[0]
    assert "add --lab" in squeezed(project.freehold("backup", "drill", expect=2))
    project.freehold("backup", "create", "postgres")
    made = json.loads(project.freehold("backup", "list", "postgres", "--json").stdout)[-1]
    before = sql(production, COUNT, "the shop")

    # The lab has no database yet: its cluster is made first.
    said = squeezed(project.freehold("backup", "drill", "postgres", "--lab"))
    assert "1 of 1 backups can be restored and read" in said and "unbroken" in said, said
    assert sql(twin, COUNT, "the shop") == before == sql(production, COUNT, "the shop")

    # The lab's own state is replaced by each drill; what is wrong with a backup is said.
    sql(twin, "DROP TABLE orders", "the shop")
    sql(production, "ALTER TABLE seal RENAME TO broken", "the shop")
    try:
        project.freehold("backup", "create", "postgres")
        said = squeezed(project.freehold("backup", "drill", "postgres", "--lab", expect=1))
    finally:
        sql(production, "ALTER TABLE broken RENAME TO seal", "the shop")
    assert "the check ended with exit code 1" in said and 'relation "seal" does not exist' in said, said
    assert sql(twin, COUNT, "the shop") == before

    sql(production, "DELETE FROM orders; DELETE FROM seal", "the shop")
    project.freehold("backup", "create", "postgres")
    project.freehold("backup", "get", "postgres", "-o", "empty.postgres.tar.gz")
    local = project.directory / "empty.postgres.tar.gz"
    words = ("backup", "drill", "postgres", "--file", str(local), "--lab")
    assert "no database holds a row" in squeezed(project.freehold(*words, expect=1))
    project.freehold("backup", "restore", "postgres", made["name"], "-y", "--no-backup", expect=2)


def test_a_drill_of_everything_counts_what_it_reads(project: Project, twin: Host) -> None:
    """All that are backed up; one whose backup is worthless does not keep the others from theirs."""
    host = project.hosts[0]
    more = {"cmd": "sleep 7200", "volumes": ["shop-files:/data"], "options": {"stop-timeout": "1"}}
    project.config["accessories"]["files"] |= more
    project.save()
    images.build(twin, "v1")
    host.exec("docker exec shop-files bash -c 'mkdir -p /data/files/d; cd /data/files; echo 12345 >d/x'")
    for name in ("files", "maria", "lite"):
        project.freehold("backup", "create", name)
    look = "cd /data/files; find . -type f | wc -l; cat $(find . -type f) | wc -c"
    count, size = host.exec(("docker", "exec", "shop-files", "bash", "-c", look)).stdout.split()
    # The newest backup of Postgres is empty by now.
    done = project.freehold("backup", "drill", "--lab", "--json", expect=1, timeout=300)
    found = {one["accessory"]: (one["found"], one["error"]) for one in json.loads(done.stdout)}
    assert found["postgres"][0] == [] and "no database holds a row" in found["postgres"][1]
    assert found["files"] == ([f"{count} files, {size} bytes"], "")
    rows = maria(host, "SELECT (SELECT COUNT(*) FROM orders) + (SELECT COUNT(*) FROM seen)", "the `shop")
    assert found["maria"] == (["side: 1 tables, 1 rows", f"the `shop: 2 tables, {rows} rows"], "")
    assert re.fullmatch(r"1 tables, \d*[02468] rows", found["lite"][0][0]) and found["lite"][1] == ""
    assert twin.exec("docker exec shop-files cat /data/files/d/x").stdout.strip() == "12345"

    # A file that SQLite opens, with a page that it cannot read.
    path = "/var/lib/freehold/backups/shop-lite"
    host.exec(
        f"set -e; cd $(mktemp -d); name=$(ls {path}/*.tar.gz | tail -n 1); tar -xzf $name; "
        f"{MERGE}; head -c 4000 /dev/zero | tr '\\0' x | "
        "dd of=shop.sqlite3 bs=1 seek=4096 conv=notrunc status=none; "
        "tar -czf $name .; sha256sum <$name | cut -d' ' -f1 >$name.sha256"
    )
    said = squeezed(project.freehold("backup", "drill", "lite", "--lab", expect=1))
    assert "damaged" in said or "malformed" in said, said
    assert "its sum is another" not in said, said
