"""MySQL itself as an accessory, out of Debian's unstable packages: no release has had it for years."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from builder.image import images_dir
from builder.store import Store, digest
from freehold.process import LocalRunner
from tests.integration.app.project import Project
from tests.rig import Host

IMAGE = "acme/mysql:1"
PASSWORD = "mysql-s3cret"
UNUSED = ("doc", "man", "locale", "info", "lintian", "i18n", "zoneinfo")
MAKE = (
    *("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--format=tar"),
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNUSED),
    # A mirror may stand still, and the suite moves on every six hours.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    "--include=mysql-server-core,mysql-client-core",
    "sid",
)
# As the official image begins: a data directory of its own, a password for root, then the server. It counts
# transactions, as whoever has replicas does.
START = r"""set -e
mkdir -p /data /run/mysqld /var/lib/mysql-files
if [ ! -d /data/my/mysql ]; then
    mysqld --user=root --datadir=/data/my --initialize-insecure
    echo "ALTER USER root@localhost IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';" >/data/first.sql
    first=--init-file=/data/first.sql
fi
exec mysqld --user=root --datadir=/data/my --socket=/run/mysqld/mysqld.sock --mysqlx=OFF \
    --innodb-buffer-pool-size=16M --performance-schema=OFF --gtid-mode=ON --enforce-gtid-consistency=ON $first
"""
FILL = """CREATE DATABASE `the ``shop` CHARACTER SET latin2;
USE `the ``shop`;
CREATE TABLE buyers (id int primary key, about json);
INSERT INTO buyers VALUES (1, '{"name": "Zoë"}');
CREATE TABLE orders (
    id int primary key, note varchar(50) CHARACTER SET utf8mb4, twice int AS (id * 2) STORED,
    buyer int DEFAULT 1, FOREIGN KEY (buyer) REFERENCES buyers (id)
);
INSERT INTO orders (id, note)
    WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    SELECT i, CONCAT('order ', i, ' €') FROM n;
CREATE TABLE seen (number int);
CREATE VIEW late AS SELECT * FROM orders WHERE id > 400;
CREATE TRIGGER noted AFTER DELETE ON orders FOR EACH ROW INSERT INTO seen VALUES (OLD.id);
CREATE PROCEDURE many() SELECT COUNT(*) FROM orders;
CREATE EVENT later ON SCHEDULE EVERY 1 DAY DO DELETE FROM seen;
CREATE DATABASE side; CREATE TABLE side.one (a int); INSERT INTO side.one VALUES (1);
"""


def image() -> Path:
    """The tree of the image, from the cache where an earlier run has made it."""
    store = Store(images_dir(None).parent / "rig", shutil.rmtree)
    key = digest(*MAKE)
    if store.find("mysql", key) is None:
        with store.make("mysql", key) as work:
            if not work.done:
                LocalRunner().run((*MAKE, str(work.path / "tree.tar")), timeout=3000)
    return store.root / "mysql" / key / "tree.tar"


def load(host: Host) -> None:
    """Have the image on a host."""
    if host.exec(f"docker image inspect {IMAGE}", check=False).returncode != 0:
        with image().open("rb") as stream:
            host.exec(("docker", "import", "-", IMAGE), stdin=stream.read(), timeout=900)


def describe(project: Project) -> None:
    """Have it in the deploy file."""
    project.config["accessories"] = {
        "my": {
            "image": IMAGE,
            "host": "web-1",
            "cmd": f"bash -c {shlex.quote(START)}",
            "env": {"secret": ["MYSQL_ROOT_PASSWORD"]},
            "volumes": ["shop-my:/data"],
        }
    }
    project.secrets["MYSQL_ROOT_PASSWORD"] = PASSWORD
    project.save()


def ask(host: Host, text: str, database: str = "mysql", *, check: bool = True) -> str:
    """The answer of MySQL; columns are parted by a blank."""
    inside = ("docker", "exec", "-i", "--env", f"MYSQL_PWD={PASSWORD}", "shop-my", "mysql")
    words = ("-uroot", "-N", "--default-character-set=utf8mb4", f"--database={database}")
    return " ".join(host.exec((*inside, *words), stdin=text, check=check, timeout=300).stdout.split())
