"""Inside an accessory: a command in its container or a new one, and what it writes."""

from __future__ import annotations

import shlex

from deployer.commands import docker
from deployer.commands.accessory import env_file, mounts, network
from deployer.commands.execute import words
from deployer.commands.logs import pipeline
from deployer.commands.wishes import LogWishes
from deployer.config import Accessory


def exec_reuse(accessory: Accessory, line: str, *, terminal: bool = False, stdin: bool = False) -> str:
    """Run a command in its container."""
    flags = docker.attach_flags(terminal=terminal, stdin=stdin)
    return "exec " + shlex.join(["docker", "exec", *flags, accessory.service, *words(line)])


def exec_new(accessory: Accessory, line: str, *, terminal: bool = False, stdin: bool = False) -> str:
    """Run a command in a new container with its environment and mounts, removed afterwards."""
    argv = ["docker", "run", "--rm", "--pull", "never", *docker.attach_flags(terminal=terminal, stdin=stdin)]
    argv += ["--network", network(accessory)]
    rest = ("restart", "network", "name", "publish")
    argv += docker.options_argv({k: v for k, v in accessory.options.items() if k not in rest})
    path = shlex.quote(env_file(accessory))
    return f"""env={path}
[ -e "$env" ] || {{ echo {shlex.quote(f"{accessory.name} has not been booted here")} >&2; exit 3; }}
names=()
if [ -e "$env.multi" ]; then
    . "$env.multi"
    readarray -t names < <(sed -n 's/^export \\([^=]*\\)=.*/--env\\n\\1/p' "$env.multi")
fi
exec {shlex.join(argv)} --env-file "$env" "${{names[@]}}" {mounts(accessory)} \\
    {shlex.join([accessory.image, *words(line)])}"""


def logs_command(accessory: Accessory, wishes: LogWishes) -> str:
    """What its container writes."""
    return f"{shlex.join(['docker', 'logs', *wishes.flags, accessory.service])} 2>&1{pipeline(wishes)}"
