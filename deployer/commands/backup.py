"""Backups of accessories on their host: a dump out of the running container, checked, and the way back.

/var/lib/freehold/backups/<accessory's service>/<time>.<kind>.tar.gz, 0600, and its .sha256
/var/lib/freehold/backups/<accessory's service>/.<time>.upload           from elsewhere, while it is restored
"""

from __future__ import annotations

import datetime
import re
import shlex
from dataclasses import dataclass

from deployer.commands import dumps, layout
from deployer.config.backups import Kind
from deployer.script import Script, Step

PLACE = f"{layout.STATE}/backups"
# Whatever else lies in the directory is no backup: its name would sort, and so count, as the newest.
_OWN = "[0-9]{8}T[0-9]+Z[.][a-z]+[.]tar[.]gz"
_STAMP = re.compile(r"\d{8}T\d{6}")


@dataclass(frozen=True)
class Source:
    """What is backed up: a container on a host, and what it holds."""

    accessory: str
    service: str
    kind: Kind
    path: str = ""
    keep: int = 7
    pause: bool = True

    @property
    def directory(self) -> str:
        """Where its backups are on the host."""
        return f"{PLACE}/{self.service}"

    @property
    def folder(self) -> str:
        """The directory in the container that plain files are taken from."""
        return self.path.rstrip("/") if self.kind == "volume" else self.path.rpartition("/")[0]


@dataclass(frozen=True)
class Archive:
    """A backup; `size` in bytes."""

    name: str
    kind: str
    size: int
    sum: str

    @property
    def time(self) -> str:
        return self.name.partition(".")[0]

    @property
    def made(self) -> datetime.datetime | None:
        """When it was made; None for a file whose name does not tell."""
        found = _STAMP.match(self.name)
        try:
            moment = datetime.datetime.strptime(found.group(), "%Y%m%dT%H%M%S") if found else None
        except ValueError:
            return None
        return moment.replace(tzinfo=datetime.UTC) if moment else None

    @property
    def moment(self) -> str:
        """When it was made, for people; the name of a file that does not tell."""
        return self.time if self.made else self.name


def _there(source: Source) -> str:
    """A database has to run. Files can be had from a container that does not, or that ends over and over."""
    name = shlex.quote(source.service)
    if source.kind in ("sqlite", "volume"):
        return (
            f"docker inspect {name} >/dev/null 2>&1 || "
            f'{{ echo "failed: there is no container {source.service}"; exit 1; }}'
        )
    return (
        f'[ "$(docker inspect --format "{{{{.State.Running}}}}" {name} 2>/dev/null)" = true ] || '
        f'{{ echo "failed: the container {source.service} does not run"; exit 1; }}'
    )


def _inside(source: Source, text: str) -> str:
    return shlex.join(["docker", "exec", "-i", source.service, "sh", "-c", text])


def create(source: Source, stamp: str, *, prune: bool = True) -> Script:
    """Make a backup; it gets its name only once it is whole and can be read.

    `prune`: remove those that are too many. Not before a restore, as the chosen one may be the oldest.
    """
    folder, name = shlex.quote(source.directory), f"{stamp}.{source.kind}.tar.gz"
    if source.kind in dumps.DUMP:
        dump = f"{_inside(source, dumps.DUMP[source.kind])} </dev/null 2>$work.err | gzip >$work"
    else:
        quoted, hold = shlex.quote(source.service), ""
        if source.pause or source.kind == "sqlite":
            # SQLite keeps its journal beside the file; held processes make both fit together. One that ends
            # over and over may end just now: then there is nothing to hold.
            state = "'{{.State.Running}} {{.State.Restarting}}'"
            hold = (
                "for try in 1 2 3 4 5; do\n"
                f'    [ "$(docker inspect --format {state} {quoted})" = "true false" ] || break\n'
                f"    if docker pause {quoted} >/dev/null 2>$work.err; then\n"
                f"        trap 'docker unpause {quoted} >/dev/null; rm -f $work*' EXIT\n"
                "        break\n"
                "    fi\n"
                "    [ $try != 5 ] || fail\n"
                "    sleep 0.2\n"
                "done\n"
            )
        files = shlex.quote(f"{source.folder}/.")
        dump = f"{hold}docker cp {quoted}:{files} - 2>$work.err | gzip >$work"
    steps = [
        Step("running", _there(source), f"the container {source.service}"),
        Step(
            "dump",
            f"""{_made(folder)}
umask 077
work={folder}/.{stamp}.new
trap 'rm -f $work*' EXIT
fail() {{ echo "failed: $(tail -n 1 $work.err)"; sed 's/^/log| /' $work.err; exit 1; }}
{dump} || fail
gzip --test $work
[ "$(tar -tzf $work | wc -l)" -gt 1 ] || {{ echo "failed: there is nothing in it"; exit 1; }}
sum=$(sha256sum <$work | cut -d' ' -f1)
sync $work
echo "$sum" >{folder}/{name}.sha256
mv $work {folder}/{name}
printf 'backup\\t%s\\t%s\\t%s\\n' {name} "$(stat -c %s {folder}/{name})" "$sum" """,
            "dump and check",
        ),
    ]
    if prune:
        steps.append(
            Step(
                "prune",
                f"cd {folder}\n(ls -1 | grep -xE {shlex.quote(_OWN)} || true) | head -n -{source.keep} | "
                'while read -r old; do rm -f "$old" "$old.sha256"; echo "removed $old"; done',
                "keep the last ones",
            )
        )
    return Script(tuple(steps), guard=_guard(source))


def _made(folder: str) -> str:
    # Another member of the group makes its own and removes what is too much; a backup is its maker's to read.
    return f"(umask 007; mkdir -p {folder})"


def _guard(source: Source) -> str:
    return f"{layout.LOCKS}/backup-{source.service}.lock"


def upload(source: Source, stamp: str) -> tuple[str, str]:
    """Where a file from elsewhere lies while it is restored, and the command that puts its input there."""
    folder = shlex.quote(source.directory)
    path = f"{source.directory}/.{stamp}.upload"
    # What a connection that broke has left goes with the next one; nobody restores for a day.
    old = f"find {folder} -maxdepth 1 -name '.*.upload' -mmin +1440 -delete"
    text = f"{_made(folder)}; umask 077; {{ {old} || true; }} && cat >{shlex.quote(path)}"
    return path, shlex.join(["bash", "-c", text])


def listing(source: Source) -> Script:
    """The backups that are there."""
    return Script(
        (
            Step(
                "list",
                f"""cd {shlex.quote(source.directory)} 2>/dev/null || exit 0
for name in *.tar.gz; do
    [[ $name =~ ^{_OWN}$ ]] || continue
    printf 'backup\\t%s\\t%s\\t%s\\n' "$name" "$(stat -c %s "$name")" "$(cat "$name.sha256" 2>/dev/null)"
done""",
                "backups",
            ),
        )
    )


def parse_archives(lines: tuple[str, ...]) -> list[Archive]:
    """The answer of `create` and `listing`, the oldest first."""
    cells = [line.split("\t") for line in lines if line.startswith("backup\t")]
    return [Archive(c[1], c[1].split(".")[-3], int(c[2]), c[3]) for c in cells if len(c) == 4]


def restore(source: Source, archive: Archive, path: str | None = None) -> Script:
    """Put a backup back, after its sum has been checked. `path`: where it lies, if not among the others."""
    path = shlex.quote(path or f"{source.directory}/{archive.name}")
    quoted = shlex.quote(source.service)
    if archive.kind in dumps.RESTORE:
        back = f"gzip -dc {path} | {_inside(source, dumps.RESTORE[archive.kind])} 2>&1 | tail -n 50"
    else:
        # By a container of the same image with the same volumes, so that no process is in between.
        # On a new volume the directory is not there yet.
        folder = shlex.quote(source.folder)
        clear = shlex.join(["sh", "-c", f"mkdir -p {folder} && rm -rf {folder}/* {folder}/.[!.]*"])
        image = f"$(docker inspect --format '{{{{.Image}}}}' {quoted})"
        entry, *words = shlex.split(clear)
        back = (
            f"ran=$(docker inspect --format '{{{{.State.Running}}}}' {quoted})\n"
            f"docker stop {quoted} >/dev/null\n"
            f"trap '[ $ran != true ] || docker start {quoted} >/dev/null' EXIT\n"
            f"docker run --rm --user 0 --network none --volumes-from {quoted} --entrypoint {entry} "
            f'"{image}" {shlex.join(words)}\n'
            f"gzip -dc {path} | docker cp --archive - {quoted}:{shlex.quote(source.folder)}\n"
            f"echo {shlex.quote(f'restored: {source.folder}')}"
        )
    return Script(
        (
            Step("running", _there(source), f"the container {source.service}"),
            Step(
                "check",
                f'[ -e {path} ] || {{ echo "failed: the backup is not there any more"; exit 1; }}\n'
                f"[ -r {path} ] || "
                f'{{ echo "failed: the backup belongs to $(stat -c %U {path}) alone"; exit 1; }}\n'
                f'[ "$(sha256sum <{path} | cut -d" " -f1)" = {shlex.quote(archive.sum)} ] || '
                '{ echo "failed: the backup is damaged: its sum is another"; exit 1; }\n'
                f"gzip --test {path}",
                "the backup is whole",
            ),
            Step("restore", back, "restore"),
        ),
        guard=_guard(source),
    )
