"""Backups of a real Postgres, a SQLite file and a directory: made while they run, restored, never half."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.state import LabState, MachineState, save_state
from tests.integration.app import databases
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

# `docker run` as the official images begin: a cluster of its own, a socket, a database.
START = r"""set -e
bin=$(echo /usr/lib/postgresql/*/bin)
mkdir -p /data/pg /data/files /run/postgresql; chown postgres /data/pg /run/postgresql
as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
[ -s /data/pg/PG_VERSION ] || as "$bin/initdb" -D /data/pg >/dev/null
exec setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres" -D /data/pg
"""
FILL = """CREATE ROLE clerk LOGIN; CREATE DATABASE "the shop" OWNER clerk;
\\c "the shop"
CREATE TABLE orders (id int primary key, note text);
INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 500) AS n;
ALTER TABLE orders OWNER TO clerk;
CREATE TABLE seal AS SELECT 'unbroken' AS state;
"""


@pytest.fixture(scope="module")
def project(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A database and a directory of files, begun once: no test leaves them without what it found."""
    hosts = (rig["web-1"], rig["web-2"])
    hosts[0].reset()
    made = Project(rig, hosts, tmp_path_factory.mktemp("project"))
    made.config["accessories"] = {
        "postgres": {
            "image": databases.IMAGE,
            "host": "web-1",
            "cmd": f"bash -c {shlex.quote(START)}",
            "volumes": ["shop-data:/data"],
        },
        "files": {"image": databases.IMAGE, "host": "web-1"},
    }
    made.config["backups"] = {
        "postgres": {
            "kind": "postgres",
            "keep": 2,
            "drill": "psql -U postgres -d 'the shop' -At -c 'TABLE seal'",
        },
        "files": {"kind": "volume", "path": "/data/files"},
    }
    made.save()
    host = hosts[0]
    have_image(host)
    run = f"docker run --detach --name shop-postgres --volume shop-data:/data {databases.IMAGE} bash -c "
    host.exec(run + shlex.quote(START))
    # Its one process hears no signal; the usual ten seconds before it is killed prove nothing.
    run = (
        f"docker run --detach --stop-timeout 1 --name shop-files --volume shop-files:/data {databases.IMAGE} "
    )
    host.exec(f"{run}sleep 7200")
    made.until(lambda: not sql(host, "SELECT 1", check=False).startswith("psql"), "the database")
    sql(host, FILL)
    yield made
    host.reset()


def have_image(host: Host) -> None:
    if host.exec(f"docker image inspect {databases.IMAGE}", check=False).returncode != 0:
        with databases.image().tar.open("rb") as stream:
            host.exec(("docker", "load", "--quiet"), stdin=stream.read(), timeout=300)


def sql(host: Host, text: str, database: str = "postgres", *, check: bool = True) -> str:
    """The answer of the database, or what psql complains about."""
    done = host.exec(
        ("docker", "exec", "-i", "shop-postgres", "psql", "-U", "postgres", "-qAt", "-d", database),
        stdin=text,
        check=check,
    )
    return (done.stdout if done.returncode == 0 else done.stderr or "psql").strip()


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
    project.freehold("backup", "restore", "postgres", "-y", "--no-backup", expect=1)
    assert sql(host, COUNT, "the shop") == before
    host.exec("docker stop shop-postgres")
    try:
        said = squeezed(project.freehold("backup", "create", "postgres", expect=1))
    finally:
        host.exec("docker start shop-postgres")
    assert "shop-postgres does not run" in said, said
    assert ".new" not in host.exec("ls -A /var/lib/freehold/backups/shop-postgres").stdout
    said = squeezed(project.freehold("backup", "create", "cache", expect=2))
    assert "there is no accessory 'cache'" in said, said


def test_files_come_back(project: Project) -> None:
    host = project.hosts[0]
    inside = ("docker", "exec", "shop-files", "bash", "-c")
    host.exec(
        (
            *inside,
            "mkdir -p /data/files/d; cd /data/files; echo one >a; echo two >d/.b; chown 7:8 a; chmod 640 a",
        )
    )
    project.freehold("backup", "create", "files")
    host.exec((*inside, "cd /data/files; rm -r d; echo other >a; echo new >c"))
    project.freehold("backup", "restore", "files", "-y")
    found = host.exec((*inside, "cd /data/files; cat a d/.b; stat -c '%u:%g %a' a; ls -A")).stdout.split()
    assert found == ["one", "two", "7:8", "640", "a", "d"]
    names = [row["name"] for row in json.loads(project.freehold("backup", "list", "files", "--json").stdout)]
    # The state of before the restore.
    project.freehold("backup", "restore", "files", names[-1], "-y", "--no-backup")
    assert host.exec((*inside, "cat /data/files/a; ls -A /data/files")).stdout.split() == ["other", "a", "c"]


@pytest.fixture
def twin(project: Project) -> Iterator[Host]:
    """`web-2` as the lab's machine for `web-1`: a whole system, prepared as a machine of the lab is."""
    host = project.hosts[1]
    host.reset()
    have_image(host)
    home = project.rig.home
    directory = home / ".local/state/freehold/labs/shop"
    directory.mkdir(parents=True)
    machine = MachineState(
        host="web-1", name="web-1", number=1, address=host.address, ssh_port=22, http_port=80, https_port=443,
        lan=host.address, roles=(), uuid="", management_mac="", lan_mac="", cpus=1, memory=1, disk=1,
    )  # fmt: skip
    again = dataclasses.replace(machine, host="web-2", name="web-2", number=2)
    save_state(
        LabState(
            name="shop", directory=directory, runtime=Path("/nonexistent"), prefix="shop", user=host.user,
            uri="", private=False, accelerator="", image=Path("/nonexistent"), internet=False, boot="",
            machines=(machine, again),
        )
    )  # fmt: skip
    shutil.copy(home / ".ssh" / "id_ed25519", directory)
    (directory / "known_hosts").write_text(f"{host.known_hosts}\n")
    yield host
    shutil.rmtree(directory)
    host.reset()


def test_a_drill_restores_productions_backup_in_the_lab_and_reads_it(project: Project, twin: Host) -> None:
    production = project.hosts[0]
    assert "add --lab" in squeezed(project.freehold("backup", "drill", expect=2))
    project.freehold("backup", "create", "postgres")
    made = json.loads(project.freehold("backup", "list", "postgres", "--json").stdout)[-1]
    before = sql(production, COUNT, "the shop")
    rows = int(before.partition("|")[0]) + 1

    # The lab has no database yet: its cluster is made first.
    (found,) = json.loads(project.freehold("backup", "drill", "postgres", "--lab", "--json").stdout)
    assert (found["backup"], found["error"]) == (made["name"].partition(".")[0], "")
    assert found["found"] == [f"the shop: 2 tables, {rows} rows"]
    assert sql(twin, COUNT, "the shop") == before == sql(production, COUNT, "the shop")

    # The lab's own state is replaced by each drill; what is wrong with a backup is said.
    sql(twin, "DROP TABLE orders", "the shop")
    said = squeezed(project.freehold("backup", "drill", "postgres", "--lab"))
    assert "1 of 1 backups can be restored and read" in said and "unbroken" in said, said
    assert sql(twin, COUNT, "the shop") == before
    sql(production, "ALTER TABLE seal RENAME TO broken", "the shop")
    try:
        project.freehold("backup", "create", "postgres")
        said = squeezed(project.freehold("backup", "drill", "postgres", "--lab", expect=1))
    finally:
        sql(production, "ALTER TABLE broken RENAME TO seal", "the shop")
    assert "the check ended with exit code 1" in said and 'relation "seal" does not exist' in said, said
    sql(production, "DELETE FROM orders; DELETE FROM seal", "the shop")
    project.freehold("backup", "create", "postgres")
    project.freehold("backup", "get", "postgres", "-o", "empty.postgres.tar.gz")
    local = project.directory / "20260131T120000000Z.postgres.tar.gz"
    (project.directory / "empty.postgres.tar.gz").rename(local)
    words = ("backup", "drill", "postgres", "--file", str(local), "--lab")
    assert "no database holds a row" in squeezed(project.freehold(*words, expect=1))
    project.freehold("backup", "restore", "postgres", made["name"], "-y", "--no-backup", expect=2)


def test_a_drill_counts_files(project: Project, twin: Host) -> None:
    host = project.hosts[0]
    more = {"cmd": "sleep 7200", "volumes": ["shop-files:/data"], "options": {"stop-timeout": "1"}}
    project.config["accessories"]["files"] |= more
    project.save()
    host.exec("docker exec shop-files bash -c 'mkdir -p /data/files/d; cd /data/files; echo 12345 >d/x'")
    project.freehold("backup", "create", "files")
    look = "cd /data/files; find . -type f | wc -l; cat $(find . -type f) | wc -c"
    count, size = host.exec(("docker", "exec", "shop-files", "bash", "-c", look)).stdout.split()
    # All of them: the database's newest backup is empty by now, which does not keep the files from theirs.
    done = project.freehold("backup", "drill", "--lab", "--json", expect=1)
    database, found = json.loads(done.stdout)
    assert (database["accessory"], database["found"]) == ("postgres", [])
    assert "no database holds a row" in database["error"]
    assert (found["found"], found["error"]) == ([f"{count} files, {size} bytes"], "")
    assert twin.exec("docker exec shop-files cat /data/files/d/x").stdout.strip() == "12345"
