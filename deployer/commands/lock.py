"""One lock per service and destination, on the primary host, held by the SSH session itself.

The script holds a `flock` for as long as its standard input stays open and a line arrives every
minute. When the deployer ends, is killed, or loses the network, the lock is gone with it; there is
nothing to release by hand. A lock taken on purpose (`lock acquire`) is a file that stays.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from deployer.commands import layout

PATIENCE = 60
"""Seconds without a line from the deployer after which the lock is free."""
GLANCE = 1
"""Seconds for which a lock is asked for before it counts as held: whoever only looks has it for a moment."""
TAKEN, HELD, MANUAL, MISSING, CLOSED = "taken", "held", "manual", "missing", "closed"
IDLE = "idle"
"""Said before `taken`: for how many hundredths of a second nobody had it; not where one was killed."""
_FREE = "free"
"""Stands in the file while nobody has it, with the host's uptime since when: no clock that may be set."""


def path(name: str) -> str:
    """The file that is locked while a deploy runs."""
    return f"{layout.LOCKS}/{name}.lock"


def manual_path(name: str) -> str:
    """The file of a lock taken on purpose."""
    return f"{layout.app(name)}/lock"


def hold_script(name: str, owner: str, *, wait: int = 0, ignore_manual: bool = False) -> str:
    """Take the lock, say so, and hold it. Prints `@@lock STATE OWNER…`; see IDLE for what may come before."""
    lock, manual = shlex.quote(path(name)), shlex.quote(manual_path(name))
    check = "" if ignore_manual else f"if [ -e {manual} ]; then say {MANUAL} {manual}; exit 75; fi"
    return f"""main() {{
umask 002
say() {{ printf '@@lock %s %s\\n' "$1" "$(tr '\\n' ' ' <"$2" 2>/dev/null)"; }}
uptime() {{ read -r up _ </proc/uptime; }}
mkdir -p {layout.LOCKS} 2>/dev/null
if ! {{ exec 9>>{lock}; }} 2>/dev/null; then
    if [ -e {lock} ]; then stat -c '@@lock {CLOSED} %U' {lock}; else say {MISSING} /dev/null; fi
    exit 73
fi
{check}
if ! flock -w {GLANCE} 9; then
    say {HELD} {lock}
    flock -w {wait} 9 || exit 75
fi
{check}
read -r word since <{lock}
case $word:$since in
    {_FREE}:*[!0-9.]* | {_FREE}:) ;;
    {_FREE}:*) uptime; printf '@@lock {IDLE} %d\\n' $((10#${{up/./}} - 10#${{since/./}})) ;;
esac
printf '%s\\n' {shlex.quote(owner)} >{lock}
say {TAKEN} {lock}
while read -r -t {PATIENCE} _; do :; done
uptime
printf '{_FREE} %s\\n' "$up" >{lock}
}}
main
exit
"""


def owner_line(who: str, why: str, since: str) -> str:
    """Who holds the lock, why and since when, as one line of JSON."""
    return json.dumps({"by": who, "why": why, "since": since}, ensure_ascii=False)


def parse_owner(text: str) -> dict[str, str]:
    """The owner of a lock; empty where the text says none, as that of one just taken may."""
    if text.startswith(f"{_FREE} "):
        return {}
    try:
        found = json.loads(text.strip() or "{}")
    except ValueError:
        return {"by": text.strip()}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def acquire_fragment(name: str, owner: str, *, held: bool = False) -> str:
    """Take the lock that stays; fails where somebody has it, or the other: `failed: STATE`, then the owner.

    The other is held meanwhile, so that nobody begins who has not seen this one; `held`: by who asks.
    """
    lock, manual = shlex.quote(path(name)), shlex.quote(manual_path(name))
    hold = f"""[ -d {layout.LOCKS} ] || mkdir -p {layout.LOCKS}
exec 9>>{lock}
if ! flock -w {GLANCE} 9; then
    echo "failed: {HELD}"
    cat {lock}
    exit 1
fi"""
    return f"""mkdir -p {shlex.quote(layout.app(name))}
{"" if held else hold}
set -o noclobber
if ! {{ printf '%s\\n' {shlex.quote(owner)} >{manual}; }} 2>/dev/null; then
    echo "failed: {MANUAL}"
    cat {manual}
    exit 1
fi"""


def parse_refusal(lines: Sequence[str]) -> tuple[str, dict[str, str]] | None:
    """Which lock was in the way of `acquire_fragment`, and whose it is; None where something else was."""
    for index, line in enumerate(lines):
        if line in (f"failed: {HELD}", f"failed: {MANUAL}"):
            return line.partition(": ")[2], parse_owner("\n".join(lines[index + 1 :]))
    return None


def release_fragment(name: str) -> str:
    """Give it back."""
    return f"rm -f {shlex.quote(manual_path(name))}"


def status_fragment(name: str) -> str:
    """Both locks, one line each: `running {…}`, `manual {…}`.

    The look itself is a shared lock, so that two who look do not see each other.
    """
    lock, manual = shlex.quote(path(name)), shlex.quote(manual_path(name))
    return f"""if [ -e {lock} ] && ! flock --shared -n {lock} true; then
    printf 'running\\t%s\\n' "$(cat {lock})"
fi
if [ -e {manual} ]; then printf 'manual\\t%s\\n' "$(cat {manual})"; fi"""
