"""Inside an accessory: a command in its container or a new one, and what it writes."""

from __future__ import annotations

import shlex

from deployer.commands import docker, hostvalues, networks
from deployer.commands.accessory import env_file, mounts, networks_of
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
    first, *further = networks_of(accessory)
    argv = ["--rm", "--pull", "never", *docker.attach_flags(terminal=terminal, stdin=stdin)]
    argv += ["--network", first.text]
    argv += docker.options_argv(networks.rest(accessory.options, "restart", "name", "publish"))
    rest = f"""\
{hostvalues.join(argv)} --env-file "$env" "${{names[@]}}" {mounts(accessory)} \\
    {shlex.join([accessory.image, *words(line)])}"""
    path = shlex.quote(env_file(accessory))
    return f"""env={path}
[ -e "$env" ] || {{ echo {shlex.quote(f"{accessory.name} has not been booted here")} >&2; exit 3; }}
names=()
if [ -e "$env.multi" ]; then
    . "$env.multi"
    readarray -t names < <({docker.NAMES_APART} "$env.multi" | sed 's/^/--env\\n/')
fi
{networks.attached(rest, further, interactive=terminal or stdin)}"""


def logs_command(accessory: Accessory, wishes: LogWishes) -> str:
    """What its container writes."""
    return f"{shlex.join(['docker', 'logs', *wishes.flags, accessory.service])} 2>&1{pipeline(wishes)}"
