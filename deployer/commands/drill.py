"""The proof of a restore: everything that came back is read once, and counted.

A drill's scripts run against the rehearsal's accessory, after the same restore that production gets.
Each database answers with a line `found: …`; nothing found is a failure.
"""

from __future__ import annotations

import shlex

from deployer.commands import layout
from deployer.commands.backup import Source
from deployer.script import Script, Step

FOUND = "found: "
PATIENCE = 600
"""Seconds for a database that has just been started to answer; an emulated machine is slow."""

# While the official images set a database up, it is reached by its socket only, and starts once more. What
# comes back goes by MySQL's socket, so both have to be there.
_READY = {
    "postgres": 'pg_isready -q -h 127.0.0.1 -U "${POSTGRES_USER:-postgres}"',
    "mysql": 'for ping in mariadb-admin mysqladmin; do if command -v "$ping" >/dev/null; then '
    '"$ping" --protocol=tcp --host=127.0.0.1 ping >/dev/null 2>&1 && "$ping" ping >/dev/null 2>&1; exit; '
    "fi; done; exit 1",
}
_POSTGRES = r"""
set -e
export PGUSER="${POSTGRES_USER:-postgres}"
all="SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
psql -X -q -At -d template1 -c "$all" >/tmp/freehold-drill
total=0
while IFS= read -r database; do
    tables=0 rows=0
    counts=$(psql -X -q -At -v ON_ERROR_STOP=1 -d "$database" <<'END'
SELECT format('SELECT count(*) FROM %I.%I', schemaname, relname) FROM pg_stat_user_tables ORDER BY 1
\gexec
END
)
    for count in $counts; do tables=$((tables + 1)) rows=$((rows + count)); done
    [ $tables = 0 ] || echo "found: $database: $tables tables, $rows rows"
    total=$((total + rows))
done </tmp/freehold-drill
rm -f /tmp/freehold-drill
[ $total -gt 0 ] || { echo "failed: no database holds a row"; exit 1; }
"""
_MYSQL = r"""
set -e
export MYSQL_PWD="${MYSQL_ROOT_PASSWORD:-$MARIADB_ROOT_PASSWORD}"
client=$(command -v mariadb || command -v mysql)
"$client" -uroot -N -e "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN
    ('mysql', 'sys', 'information_schema', 'performance_schema')" >/tmp/freehold-drill
total=0
while IFS= read -r database; do
    tables=0 rows=0
    quoted=$(printf %s "$database" | sed "s/'/''/g")
    counts=$("$client" -uroot -N -e "SELECT CONCAT('SELECT COUNT(*) FROM \`',
        REPLACE(table_schema, '\`', '\`\`'), '\`.\`', REPLACE(table_name, '\`', '\`\`'), '\`;')
        FROM information_schema.tables
        WHERE table_type = 'BASE TABLE' AND table_schema = '$quoted'" </dev/null | "$client" -uroot -N)
    for count in $counts; do tables=$((tables + 1)) rows=$((rows + count)); done
    [ $tables = 0 ] || echo "found: $database: $tables tables, $rows rows"
    total=$((total + rows))
done </tmp/freehold-drill
rm -f /tmp/freehold-drill
[ $total -gt 0 ] || { echo "failed: no database holds a row"; exit 1; }
"""
# The image need not have SQLite's program; a prepared host has Python.
_SQLITE = r"""
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
said = [row[0] for row in database.execute("PRAGMA integrity_check")]
if said != ["ok"]:
    sys.exit("failed: the database is damaged: " + "; ".join(said[:3]))
names = [row[0] for row in database.execute(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
count = 'SELECT count(*) FROM "%s"'
rows = sum(database.execute(count % name.replace('"', '""')).fetchone()[0] for name in names)
if not rows:
    sys.exit("failed: no table holds a row")
print(f"found: {len(names)} tables, {rows} rows")
"""


def ready(source: Source) -> Script:
    """Wait until the rehearsal's accessory can take a backup."""
    name = shlex.quote(source.service)
    running = f'[ "$(docker inspect --format "{{{{.State.Running}}}}" {name} 2>/dev/null)" = true ]'
    test = running
    if source.kind in _READY:
        test += f" && docker exec {name} sh -c {shlex.quote(_READY[source.kind])} 2>/dev/null"
    shell = f"""limit=$((SECONDS + {PATIENCE}))
until {test}; do
    if [ $SECONDS -ge $limit ]; then
        echo "failed: {source.service} does not answer after {PATIENCE} seconds"
        docker logs --tail 20 {name} 2>&1 | sed 's/^/log| /'
        exit 1
    fi
    sleep 1
done"""
    return Script((Step("ready", shell, f"{source.accessory} answers"),))


def read_back(source: Source, check: str | None = None) -> Script:
    """Read what was restored, then run the user's own check in the container."""
    name = shlex.quote(source.service)
    if source.kind in ("postgres", "mysql"):
        text = _POSTGRES if source.kind == "postgres" else _MYSQL
        shell = shlex.join(["docker", "exec", "-i", source.service, "sh", "-c", text]) + " </dev/null"
    else:
        copied = f'docker cp {name}:{shlex.quote(source.folder + "/.")} "$work"'
        work = "umask 077\nwork=$(mktemp -d)\ntrap 'rm -rf \"$work\"' EXIT\n"
        if source.kind == "sqlite":
            file = shlex.quote(source.path.rpartition("/")[2])
            shell = f'{work}{copied}\npython3 -c {shlex.quote(_SQLITE)} "$work"/{file} 2>&1'
        else:
            # Every byte passes through tar, and none stays on the disk.
            cat = f"docker cp {name}:{shlex.quote(source.folder + '/.')} -"
            shell = f"""files=$({cat} | tar -tvf - | grep -c '^[^d]' || true)
bytes=$({cat} | tar -xOf - | wc -c)
[ "$files" -gt 0 ] || {{ echo "failed: there is no file in {source.folder}"; exit 1; }}
echo "found: $files files, $bytes bytes\""""
    steps = [Step("read", shell, "read everything that was restored")]
    if check is not None:
        inside = shlex.join(["docker", "exec", source.service, "sh", "-c", check])
        own = f'{inside} 2>&1 </dev/null || {{ echo "failed: the check ended with exit code $?"; exit 1; }}'
        steps.append(Step("check", own, "the check of the file"))
    return Script(tuple(steps), guard=f"{layout.LOCKS}/backup-{source.service}.lock")


def parse_found(lines: tuple[str, ...]) -> list[str]:
    """What `read_back` counted."""
    return [line.removeprefix(FOUND) for line in lines if line.startswith(FOUND)]
