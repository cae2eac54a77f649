"""What is open at a switch and outlasts the deploy: the old container serves it for at most `stream_timeout`.

apps/<service>/open/<container id>   deadline, stop timeout, restart policy, address (`data/host/streams.sh`)
apps/<service>/open/watch            ends a container; a process of the host's own, one for each of them
"""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence

from deployer.commands import layout
from deployer.commands.facts import Container
from deployer.config import DeployConfig, Role
from deployer.script import ScriptResult, heredoc

GOES_ON = "goes on: "
"""Begins the line of a container that was not stopped: its name, and when it ends at the latest."""

# The file is held locked while it is watched. Only under the guard is a container chosen to end: one that
# is to serve again has no file by then. One that ended by itself keeps its file, and has no policy of
# restarts until it serves again: Docker would start it with the host.
_WATCH = """\
umask 002
cd "${0%/*}" || exit 1
id=$1
exec 8<"$id" && flock -n 8 || exit 0
while [ "$id" -ef /dev/fd/8 ]; do
    deadline=0 address=
    read -r deadline grace restart address <"$id"
    if [ "$(date +%s)" -lt "${deadline:-0}" ]; then
        if [ -n "$(ss -Htn state established "( dst $address )")" ]; then
            sleep 1
            continue
        fi
    fi
    exec 9>>@guard@
    if ! flock -w 5 9; then
        exec 9>&-
        continue
    fi
    [ "$id" -ef /dev/fd/8 ] || exit 0
    running=$(docker inspect --format '{{.State.Running}}' "$id" 2>/dev/null)
    if [ "$running" != true ]; then
        # Nothing is left to be ended; where Docker does not answer, it is asked again.
        if [ -n "$running" ] || docker version >/dev/null 2>&1; then exit 0; fi
        exec 9>&-
        sleep 1
        continue
    fi
    mv -f "$id" "$id.ending"
    exec 9>&-
    docker stop --time "$grace" "$id" && docker update --restart "$restart" "$id"
    rm -f "$id.ending"
    exit
done
"""


def folder(config: DeployConfig) -> str:
    """Where the containers of a service that go on are noted."""
    return layout.open_streams(config.name)


def limit_of(config: DeployConfig, role: Role) -> int:
    """Seconds that a container may go on once requests have had their time; 0: it is stopped then."""
    if role.proxy is None or role.proxy.stream_timeout is None:
        return 0
    return max(0, round(role.proxy.stream_timeout - config.drain_timeout))


def may_go_on(config: DeployConfig, role: Role, container: Container) -> bool:
    """Whether a container may be left running: it does so already, or its role has a limit for it.

    Those in the host's own network share an address with all else there, which tells nothing of them.
    """
    if not container.address or container.address.startswith("127."):
        return False
    return bool(container.lingering or limit_of(config, role))


def stop_lines(config: DeployConfig, role: Role, grace: int, containers: Sequence[Container]) -> list[str]:
    """Stop containers of a role, except those which may go on and have something open."""
    lines = ["ending=()"]
    for one in containers:
        if may_go_on(config, role, one):
            seconds = str(limit_of(config, role))
            words = [folder(config), seconds, str(grace), one.id, one.address, f"{role.name} {one.version}"]
            lines.append(f"{shlex.join(['goes_on', *words])} || ending+=({shlex.quote(one.name)})")
        else:
            lines.append(f"ending+=({shlex.quote(one.name)})")
    return [*lines, f'[ ${{#ending[@]}} = 0 ] || docker stop --time {grace} "${{ending[@]}}"']


def watch_fragment(config: DeployConfig) -> str:
    """Write the program that ends containers; replaced by rename, as one of before may be reading it."""
    path = f"{folder(config)}/watch"
    text = _WATCH.replace("@guard@", shlex.quote(layout.guard(config.name)))
    new = shlex.quote(f"{path}.new")
    return (
        f"mkdir -p {shlex.quote(folder(config))}\ncat >{new} {heredoc(text)}\nmv -f {new} {shlex.quote(path)}"
    )


def unless_open(config: DeployConfig, containers: Sequence[Container], line: str) -> str:
    """The line, where none of these containers goes on."""
    if not containers:
        return line
    return f"{shlex.join(['lingers', folder(config), *(one.id for one in containers)])} || {{ {line}; }}"


def forget_fragment(config: DeployConfig) -> str:
    """Nothing is known any more of containers that are gone."""
    return f"[ ! -d {shlex.quote(folder(config))} ] || {shlex.join(['forget_open', folder(config)])}"


def serve_again(config: DeployConfig, names: Sequence[str]) -> str:
    """Containers of these names are to serve: none of them is ended by a limit of before."""
    return shlex.join(["serve_again", folder(config), *names])


def again_fragment(config: DeployConfig, containers: Sequence[Container]) -> list[str]:
    """Those that were going on do so again, as they did."""
    return [
        shlex.join(["opens_again", folder(config), one.id, one.lingering])
        for one in containers
        if one.lingering
    ]


def told(result: ScriptResult) -> list[str]:
    """What goes on after a deploy, a sentence for each container."""
    found = []
    for line in result.lines("stop"):
        if line.startswith(GOES_ON):
            role, version, deadline = line.removeprefix(GOES_ON).split()
            until = datetime.datetime.fromtimestamp(int(deadline)).astimezone().strftime("%H:%M:%S")
            found.append(
                f"connections of {role} {version} are still open; it ends with them, at {until} at the latest"
            )
    return found
