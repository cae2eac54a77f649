"""Postgres, MariaDB and Redis as accessories, from Debian's own packages: nothing is pulled from anywhere."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from builder.base import build_base
from builder.image import images_dir
from builder.oci import write_archive
from builder.spec import BaseSpec
from builder.store import Store, digest
from freehold.console import Console
from freehold.process import LocalRunner
from tests.rig import Host, Rig

IMAGE = "acme/data:1"
PACKAGES = ("postgresql", "redis-server", "mariadb-server-core", "mariadb-client")
# Two thirds of the bytes, which no server here reads: the compiler behind Postgres' JIT, a cluster that the
# package has made, what describes every language, tools of MariaDB's that are each a copy of the client.
UNUSED = re.compile(
    r"\./usr/lib/[^/]+/lib(LLVM|z3)|\./usr/lib/postgresql/[^/]+/lib/(bitcode/|llvmjit)|\./var/lib/postgresql/."
    r"|\./usr/share/(i18n|doc|zoneinfo|mysql/(?!english|charsets|[^/]+\.sql))/"
    r"|\./usr/bin/(mariadb-(binlog|check|conv|import|plugin|show|slap|upgrade|waitpid|tzinfo-to-sql)|localedef)$"
)
PASSWORD = "pg-s3cret-of-the-test"

# As the official image does it: begin the cluster once, then give way to the server.
DATABASE = r"""#!/bin/bash
set -e
bin=$(echo /usr/lib/postgresql/*/bin)
as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    install -o postgres -m 600 /dev/stdin /tmp/password <<<"$POSTGRES_PASSWORD"
    as "$bin/initdb" -D "$PGDATA" --auth-host=scram-sha-256 --pwfile=/tmp/password >/dev/null
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    as "$bin/pg_ctl" -D "$PGDATA" -o '-h "" -k /tmp' -w start >/dev/null
    as psql -h /tmp -q -f /etc/init.sql
    as "$bin/pg_ctl" -D "$PGDATA" -w -m fast stop >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups \
    "$bin/postgres" -D "$PGDATA" -h '*' -k /tmp
"""

INIT = """CREATE TABLE shop (name text);
INSERT INTO shop VALUES ('<%= ENV["SHOP_NAME"] %> of <%= ENV.fetch("POSTGRES_PASSWORD").length %>');
"""

KEY = "-----BEGIN PRIVATE KEY-----\nbm90IHJlYWxseQ==\n-----END PRIVATE KEY-----\n"


def image() -> Path:
    """The archive of the image, from the cache where an earlier run has made it."""
    spec = BaseSpec(IMAGE, suite="bookworm", packages=PACKAGES)
    base = build_base(spec, runner=LocalRunner(), console=Console(quiet=True))
    store = Store(images_dir(None).parent / "rig", shutil.rmtree)
    key = digest(base.digest, UNUSED.pattern)
    if store.find("databases", key) is None:
        with store.make("databases", key) as work:
            if not work.done:
                _slim(base.tar, work.path)
    return store.root / "databases" / key / "image.tar"


def _slim(base: Path, folder: Path) -> None:
    """The base image without what nobody here uses: it travels and unpacks in half the time."""
    layer = folder / "layer.tar"
    with tarfile.open(base) as archive:
        member = max(archive.getmembers(), key=lambda entry: entry.size)
        with (
            tarfile.open(fileobj=archive.extractfile(member)) as before,
            tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as after,
        ):
            for entry in before:
                if not UNUSED.match(entry.name):
                    after.addfile(entry, before.extractfile(entry) if entry.isreg() else None)
    made = write_archive(folder / "image.tar", IMAGE, layer, "amd64", 0)
    layer.unlink()
    (folder / "base.json").write_text(json.dumps({"reference": IMAGE, "digest": made.digest}))


def load(host: Host) -> None:
    """Have the image on a host, behind the deployer's back."""
    if host.exec(f"docker image inspect {IMAGE}", check=False).returncode != 0:
        with image().open("rb") as stream:
            host.exec(("docker", "load", "--quiet"), stdin=stream.read(), timeout=300)


def offer(rig: Rig) -> None:
    """Put the image where `freehold image base` puts it for the operator: the deployer finds it there."""
    made = image().parent
    bases = rig.home / ".cache" / "freehold" / "images" / "bases"
    bases.mkdir(parents=True, exist_ok=True)
    link = bases / made.name
    if not link.exists():
        link.symlink_to(made)


def write_files(directory: Path) -> None:
    """The files of the database in the project."""
    folder = directory / "accessories"
    folder.mkdir()
    (folder / "database.sh").write_text(DATABASE)
    (folder / "init.sql.erb").write_text(INIT)
    (folder / "server.key").write_text(KEY)


def accessories() -> dict[str, Any]:
    """A database with files, a directory and a health check; a cache with its port on the host."""
    return {
        "db": {
            "image": IMAGE,
            "host": "web-1",
            "cmd": "bash /usr/local/bin/database",
            "env": {
                "clear": {"PGDATA": "/data/pg", "SHOP_NAME": "the shop"},
                "secret": ["POSTGRES_PASSWORD"],
            },
            "files": [
                "accessories/database.sh:/usr/local/bin/database:ro",
                {
                    "local": "accessories/init.sql.erb",
                    "remote": "/etc/init.sql",
                    "owner": "postgres:postgres",
                },
                "accessories/server.key:/etc/server.key",
            ],
            "directories": [
                {"local": "data", "remote": "/data", "mode": "0700", "owner": "postgres:postgres"}
            ],
            "options": {
                "health-cmd": "psql -h /tmp -U postgres -c 'select 1'",
                "health-interval": "1s",
                "shm-size": "64m",
            },
            "labels": {"keeper": "me"},
        },
        "cache": {
            "image": IMAGE,
            "host": "web-1",
            "port": "127.0.0.1:6379:6379",
            "cmd": "redis-server --protected-mode no --dir /var/lib/redis --appendonly yes",
            "volumes": ["cache-data:/var/lib/redis"],
        },
    }
