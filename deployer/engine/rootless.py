"""A private engine for a user who is not root: the daemon is root in namespaces of its own.

The user's subordinate ids (`/etc/subuid`) own the files of images. `pasta` gives the network namespace
the way out that build steps want, through ordinary sockets of the user. Nothing that is mounted there
is seen outside, and all of it ends with the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

# Outside: make the namespaces, give them a network, stay until the daemon ends.
_OUTER = """\
inner=$1 pid_file=$2 user=$3
shift 3
rm -f "$pid_file"
unshare --user --map-root-user --map-auto --mount --net --fork --kill-child \\
    bash -c "$inner" engine "$pid_file" "$user" "$@" &
child=$!
until [ -s "$pid_file" ]; do
    kill -0 $child 2>/dev/null || { wait $child; exit; }
    sleep 0.05
done
# In the foreground: in the background it would outlive the namespace.
pasta --config-net --quiet --foreground "$(cat "$pid_file")" &
network=$!
wait $child
code=$?
kill $network 2>/dev/null
wait $network
exit $code
"""

# Inside: dockerd wants to write to /run and to /etc/docker, which belong to the system's root.
_INNER = """\
set -e
pid_file=$1 user=$2
shift 2
export XDG_RUNTIME_DIR="$user"
mount --make-rprivate /
keep=$(mktemp -d)
mount --rbind "$(dirname "$pid_file")" "$keep"
mount -t tmpfs tmpfs /run
mkdir -p "$(dirname "$pid_file")" /run/upper /run/work
mount --rbind "$keep" "$(dirname "$pid_file")"
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work,userxattr /etc
mkdir -p /etc/docker
mount -t tmpfs tmpfs /etc/docker
echo $$ >"$pid_file"
exec "$@" --rootless
"""

PROGRAMS = ("unshare", "newuidmap", "newgidmap", "pasta")


def rootless_argv(daemon: Sequence[str], run: Path) -> tuple[str, ...]:
    """A command that starts `daemon` (dockerd's argv) as root of namespaces; `run` is its own directory."""
    return ("bash", "-c", _OUTER, "engine", _INNER, str(run / "namespace.pid"), str(run), *daemon)


def obstacle(which: Callable[[str], Path | None], user: str, subids: str) -> str:
    """Why this user can have no private engine, or nothing. `subids` is the text of /etc/subuid."""
    lacking = [program for program in PROGRAMS if which(program) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed"
    if not any(line.startswith(f"{user}:") for line in subids.splitlines()):
        return f"{user} has no subordinate ids in /etc/subuid"
    return ""
