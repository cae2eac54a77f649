"""What is backed up: Postgres, MariaDB, a SQLite file and plain files, as containers of a host."""

from __future__ import annotations

import shlex

from tests.integration.app import databases, images
from tests.integration.app.project import Project
from tests.rig import Host

PASSWORD = "maria-s3cret"
# `docker run` as the official images begin: a cluster of its own, a socket, a database.
START = r"""set -e
bin=$(echo /usr/lib/postgresql/*/bin)
mkdir -p /data/pg /data/files /run/postgresql; chown postgres /data/pg /run/postgresql
as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
[ -s /data/pg/PG_VERSION ] || as "$bin/initdb" -D /data/pg >/dev/null
exec setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres" -D /data/pg
"""
MARIA = r"""set -e
mkdir -p /data/maria /run/mysqld
if [ ! -d /data/maria/mysql ]; then
    mariadb-install-db --user=root --datadir=/data/maria --auth-root-authentication-method=normal >/dev/null
    echo "ALTER USER root@localhost IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';" >/data/first.sql
    first=--init-file=/data/first.sql
fi
exec mariadbd --user=root --datadir=/data/maria --innodb-buffer-pool-size=8M --innodb-log-file-size=4M \
    --event-scheduler=OFF $first
"""
MARIA_FILL = """CREATE DATABASE `the ``shop` CHARACTER SET latin2;
USE `the ``shop`;
CREATE TABLE orders (id int primary key, note varchar(50) CHARACTER SET utf8mb4) ENGINE=InnoDB;
INSERT INTO orders SELECT seq, CONCAT('order ', seq, ' €') FROM seq_1_to_500;
CREATE TABLE seen (number int);
CREATE VIEW late AS SELECT * FROM orders WHERE id > 400;
CREATE TRIGGER noted AFTER DELETE ON orders FOR EACH ROW INSERT INTO seen VALUES (OLD.id);
CREATE PROCEDURE many() SELECT COUNT(*) FROM orders;
CREATE EVENT later ON SCHEDULE EVERY 1 DAY DO DELETE FROM seen;
CREATE DATABASE side; CREATE TABLE side.one (a int); INSERT INTO side.one VALUES (1);
"""
# Two rows that belong together in one transaction, without end; WAL, and never a checkpoint of its own.
WRITER = """
import os, sqlite3, time
os.makedirs("/data/lite", exist_ok=True)
db = sqlite3.connect("/data/lite/shop.sqlite3", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL"); db.execute("PRAGMA wal_autocheckpoint=0")
db.execute("CREATE TABLE IF NOT EXISTS visits (number INTEGER PRIMARY KEY, side TEXT)")
while True:
    db.execute("BEGIN")
    for side in ("left", "right"):
        db.execute("INSERT INTO visits (side) VALUES (?)", (side,))
    db.execute("COMMIT")
    time.sleep(0.01)
"""
LITE = "/data/lite/shop.sqlite3"
LOOK = """
import sqlite3
db = sqlite3.connect("/data/lite/shop.sqlite3")
(said,) = db.execute("PRAGMA integrity_check").fetchone()
print(said, *(n for _, n in db.execute("SELECT side, count(*) FROM visits GROUP BY side ORDER BY side")))
"""
# The journal becomes part of the file.
MERGE = "python3 -c \"import sqlite3; sqlite3.connect('shop.sqlite3').execute('PRAGMA journal_mode=DELETE')\""
FILL = """CREATE ROLE clerk LOGIN; CREATE DATABASE "the shop" OWNER clerk;
\\c "the shop"
CREATE TABLE orders (id int primary key, note text);
INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 500) AS n;
ALTER TABLE orders OWNER TO clerk;
CREATE TABLE seal AS SELECT 'unbroken' AS state;
"""


def describe(project: Project) -> None:
    """Have them in the deploy file."""
    project.config["accessories"] = {
        "postgres": {
            "image": databases.IMAGE,
            "host": "web-1",
            "cmd": f"bash -c {shlex.quote(START)}",
            "volumes": ["shop-data:/data"],
        },
        "files": {"image": databases.IMAGE, "host": "web-1"},
        "maria": {
            "image": databases.IMAGE,
            "host": "web-1",
            "cmd": f"bash -c {shlex.quote(MARIA)}",
            "env": {"secret": ["MARIADB_ROOT_PASSWORD"]},
            "volumes": ["shop-maria:/data"],
        },
        "lite": {
            "image": images.APP,
            "host": "web-1",
            "cmd": f"python3 -c {shlex.quote(WRITER)}",
            "volumes": ["shop-lite:/data"],
            "options": {"stop-timeout": "1"},
        },
    }
    project.secrets["MARIADB_ROOT_PASSWORD"] = PASSWORD
    project.config["backups"] = {
        "postgres": {
            "kind": "postgres",
            "keep": 2,
            "drill": "psql -U postgres -d 'the shop' -At -c 'TABLE seal'",
        },
        "files": {"kind": "volume", "path": "/data/files"},
        "maria": {"kind": "mysql"},
        "lite": {"kind": "sqlite", "path": "/data/lite/shop.sqlite3"},
    }
    project.save()


def begin(project: Project, host: Host) -> None:
    """Run them, as their accessories would."""
    databases.load(host)
    images.build(host, "v1")
    data = f"{databases.IMAGE} bash -c"

    def run(name: str, volume: str, *words: str) -> None:
        host.exec(f"docker run --detach --name shop-{name} --volume {volume}:/data {' '.join(words)}")

    run("postgres", "shop-data", data, shlex.quote(START))
    run("maria", "shop-maria", f"--env MARIADB_ROOT_PASSWORD={PASSWORD}", data, shlex.quote(MARIA))
    # A process that hears no signal; the usual ten seconds before it is killed prove nothing.
    quick = "--stop-timeout 1"
    run("lite", "shop-lite", quick, "--restart always", f"{images.APP} python3 -c", shlex.quote(WRITER))
    run("files", "shop-files", quick, f"{databases.IMAGE} sleep 7200")
    project.until(lambda: sql(host, "SELECT 1", check=False) == "1", "the database")
    sql(host, FILL)
    project.until(lambda: maria(host, "SELECT 1", check=False) == "1", "the other database")
    maria(host, MARIA_FILL)


def sql(host: Host, text: str, database: str = "postgres", *, check: bool = True) -> str:
    """The answer of the database, or what psql complains about."""
    done = host.exec(
        ("docker", "exec", "-i", "shop-postgres", "psql", "-U", "postgres", "-qAt", "-d", database),
        stdin=text,
        check=check,
    )
    return (done.stdout if done.returncode == 0 else done.stderr or "psql").strip()


def maria(host: Host, text: str, database: str = "mysql", *, check: bool = True) -> str:
    """The answer of MariaDB; columns are parted by a blank."""
    inside = ("docker", "exec", "-i", "--env", f"MYSQL_PWD={PASSWORD}", "shop-maria")
    done = host.exec((*inside, "mariadb", "-uroot", "-N", f"--database={database}"), stdin=text, check=check)
    return " ".join(done.stdout.split())


def lite(host: Host) -> tuple[str, int, int]:
    """What SQLite says of its file, and how many rows there are on either side."""
    said, left, right = host.exec(("docker", "exec", "shop-lite", "python3", "-c", LOOK)).stdout.split()
    return said, int(left), int(right)
