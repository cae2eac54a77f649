"""Running a command in a container of the application: in the one that serves, or in a new one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from deployer.commands import docker, layout
from deployer.commands.app import current_name
from deployer.config import DeployConfig, Role

_SHELL = re.compile(r"[|&;<>()$`*?~#\n]|^\w+=")
_QUOTED = re.compile(r"'[^']*'|\"(?:[^\"$`\\]|\\.)*\"|\\.")


def words(line: str) -> list[str]:
    """A command line as argv. Where it says something only a shell understands, a shell gets it.

    Without one it goes to the image's entrypoint as it is, which also suits images that have no shell.
    """
    bare = _QUOTED.sub("_", line)
    if _SHELL.search(bare) or "'" in bare or '"' in bare:
        return ["sh", "-c", line]
    return shlex.split(line)


def exec_reuse(
    config: DeployConfig,
    role: Role,
    command: str,
    *,
    env: Sequence[tuple[str, str]] = (),
    terminal: bool = False,
    stdin: bool = False,
    version: str | None = None,
) -> str:
    """Run a command in the container that serves."""
    flags = [*docker.attach_flags(terminal=terminal, stdin=stdin), *_env(env)]
    name = current_name(config, role, version)
    return (
        f'name={name}; [ -n "$name" ] || {{ echo "no container of {role.name} runs" >&2; exit 3; }}; '
        f'exec docker exec {shlex.join(flags)} "$name" {shlex.join(words(command))}'
    )


def exec_new(
    config: DeployConfig,
    role: Role,
    command: str,
    *,
    version: str | None,
    env: Sequence[tuple[str, str]] = (),
    terminal: bool = False,
    stdin: bool = False,
    detach: bool = False,
) -> str:
    """Run a command in a new container of a version (default: the one that serves).

    It is removed afterwards; one that is detached stays until `prune`, so that its logs can be read.
    """
    image, app = config.image_name("VERSION"), layout.app(config.name)
    flags = ["--detach"] if detach else ["--rm", *docker.attach_flags(terminal=terminal, stdin=stdin)]
    flags += [*_env(env), "--pull", "never"]
    if "network" not in role.options:
        flags += ["--network", layout.NETWORK]
    flags += docker.logging_argv(role.logging, role.options)
    for volume in config.volumes:
        flags += ["--volume", volume]
    flags += ["--label", f"service={config.service}", "--label", f"destination={config.destination or ''}"]
    flags += ["--label", "freehold.exec=true"]
    skipped = ("publish", "name", "restart")
    flags += docker.options_argv({k: v for k, v in role.options.items() if k not in skipped})
    chosen = shlex.quote(version) if version else f"$(tail -n 1 {app}/history 2>/dev/null | cut -d' ' -f2)"
    prefix = image.rsplit(":", 1)[0]
    return f"""version={chosen}
[ -n "$version" ] || {{ echo "nothing has been deployed yet" >&2; exit 3; }}
env={app}/versions/$version/{shlex.quote(role.name)}.env
[ -e "$env" ] || {{ echo "version $version has not been deployed here" >&2; exit 3; }}
names=()
if [ -e "$env.multi" ]; then
    . "$env.multi"
    readarray -t names < <(sed -n 's/^export \\([^=]*\\)=.*/--env\\n\\1/p' "$env.multi")
fi
exec docker run --name {shlex.quote(config.container_prefix(role))}-exec-"$version-$RANDOM$RANDOM" \\
    {shlex.join(flags)} --env-file "$env" "${{names[@]}}" --env KAMAL_VERSION="$version" \\
    {shlex.quote(prefix)}:"$version" {shlex.join(words(command))}"""


def _env(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [word for name, value in pairs for word in ("--env", f"{name}={value}")]
