"""Databases: what makes a dump inside a container, and what reads it back, by the image's own programs.

A database is restored beside the one in use, and its place is taken only by what is complete. In Postgres the
new one is renamed, so that a restore that fails leaves everything as it was. MySQL renames none: once the new
one has shown that a dump is whole, it is read again in the place of the old one.
"""

from __future__ import annotations

# The archive is made of what they leave in $work.
_POSTGRES_DUMP = r"""
set -e
umask 077
export PGUSER="${POSTGRES_USER:-postgres}"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
pg_dumpall --globals-only --no-role-passwords >"$work/globals.sql" 2>/dev/null ||
    pg_dumpall --globals-only >"$work/globals.sql"
psql -X -q -At -d template1 -c "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate" \
    >"$work/databases"
number=0
while IFS= read -r database; do
    number=$((number + 1))
    pg_dump --format=custom --dbname="$database" --file="$work/$number.dump" </dev/null
    pg_restore --list "$work/$number.dump" >/dev/null
done <"$work/databases"
tar -C "$work" -cf - .
"""
_POSTGRES_RESTORE = r"""
set -e
umask 077
export PGUSER="${POSTGRES_USER:-postgres}"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
tar -C "$work" -xf -
sql() { psql -X -q -v ON_ERROR_STOP=1 -d template1 "$@"; }
quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/"/""/g')"; }
literal() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; }
# Roles that are there already stay as they are.
psql -X -q -d template1 -f "$work/globals.sql" >/dev/null 2>&1 || true
# Names in between of our own: one made of the database's may be somebody's, or be cut off at 63 bytes.
number=0
while IFS= read -r database; do
    number=$((number + 1)) new=freehold_restored_$number
    sql -c "DROP DATABASE IF EXISTS $new" -c "CREATE DATABASE $new TEMPLATE template0"
    pg_restore --exit-on-error --dbname=$new "$work/$number.dump" </dev/null
done <"$work/databases"
number=0
while IFS= read -r database; do
    number=$((number + 1)) new=freehold_restored_$number old=freehold_replaced_$number
    name=$(quoted "$database")
    sql -c "DROP DATABASE IF EXISTS $old WITH (FORCE)"
    there=$(psql -X -q -At -d template1 -c "SELECT 1 FROM pg_database WHERE datname = $(literal "$database")")
    if [ -n "$there" ]; then
        sql -c "ALTER DATABASE $name WITH ALLOW_CONNECTIONS false" \
            -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = $(literal "$database")" >/dev/null
        for try in 1 2 3 4 5 6 7 8 9 10; do
            if sql -c "ALTER DATABASE $name RENAME TO $old" 2>/dev/null; then break; fi
            [ $try != 10 ] || { sql -c "ALTER DATABASE $name WITH ALLOW_CONNECTIONS true"; exit 1; }
            sleep 0.5
        done
    fi
    sql -c "ALTER DATABASE $new RENAME TO $name"
    sql -c "DROP DATABASE IF EXISTS $old WITH (FORCE)"
    tables=$(psql -X -q -At -d "$database" -c "SELECT count(*) FROM pg_stat_user_tables")
    echo "restored: $database ($tables tables)" >&2
done <"$work/databases"
"""
_MYSQL_CLIENT = r"""
set -e
umask 077
export MYSQL_PWD="${MYSQL_ROOT_PASSWORD:-$MARIADB_ROOT_PASSWORD}"
found() {
    for name in "$@"; do if command -v "$name"; then return; fi; done
    echo "there is no $1 in the image" >&2
    return 1
}
quoted() { printf '`%s`' "$(printf %s "$1" | sed 's/`/``/g')"; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
client=$(found mariadb mysql)
"""
_MYSQL_DUMP = (
    _MYSQL_CLIENT
    + r"""
dump=$(found mariadb-dump mysqldump) more=
# Where MySQL counts transactions for replicas, a restore must not.
if "$dump" --help | grep -q set-gtid-purged; then more=--set-gtid-purged=OFF; fi
"$client" -uroot -N -r -e "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN
    ('mysql', 'sys', 'information_schema', 'performance_schema')" >"$work/databases"
number=0
while IFS= read -r database; do
    number=$((number + 1))
    "$client" -uroot -N -r -e "SELECT CONCAT('CHARACTER SET ', default_character_set_name, ' COLLATE ',
        default_collation_name) FROM information_schema.schemata
        WHERE schema_name = '$(printf %s "$database" | sed "s/'/''/g")'" </dev/null >"$work/$number.text"
    "$dump" -uroot --single-transaction --routines --triggers --events $more -- "$database" \
        </dev/null >"$work/$number.sql"
    # The last line says that nothing is missing.
    tail -n 1 "$work/$number.sql" | grep -q 'Dump completed'
done <"$work/databases"
tar -C "$work" -cf - .
"""
)
# A view, a trigger or a procedure cannot be moved to another database, so that nothing can be renamed: each
# dump is read into a new database first, which shows that it is whole, and then in the place of the old one.
_MYSQL_RESTORE = (
    _MYSQL_CLIENT
    + r"""
tar -C "$work" -xf -
# Tables of other databases may refer to what goes, and will to what comes.
drop="SET FOREIGN_KEY_CHECKS = 0; DROP DATABASE IF EXISTS"
# fill DATABASE NUMBER: the database new, with what the dump of that number holds
fill() {
    "$client" -uroot -e "$drop $(quoted "$1");
        CREATE DATABASE $(quoted "$1") $(cat "$work/$2.text")" </dev/null || return
    "$client" -uroot --database="$1" <"$work/$2.sql"
}
number=0
while IFS= read -r database; do
    number=$((number + 1)) whole=yes
    # A dump that names its database itself would be read into that one, whatever is asked.
    if [ ! -e "$work/$number.text" ]; then
        echo "an earlier version made this backup, in another form" >&2
        exit 1
    fi
    fill freehold_restored $number || whole=
    "$client" -uroot -e "$drop freehold_restored" </dev/null
    [ -n "$whole" ]
done <"$work/databases"
number=0
while IFS= read -r database; do
    number=$((number + 1))
    fill "$database" $number
    tables=$("$client" -uroot -N -e "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema =
        '$(printf %s "$database" | sed "s/'/''/g")' AND table_type = 'BASE TABLE'" </dev/null)
    echo "restored: $database ($tables tables)" >&2
done <"$work/databases"
"""
)

DUMP = {"postgres": _POSTGRES_DUMP, "mysql": _MYSQL_DUMP}
RESTORE = {"postgres": _POSTGRES_RESTORE, "mysql": _MYSQL_RESTORE}
