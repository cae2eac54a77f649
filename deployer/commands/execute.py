"""Running a command in a container of the application: in the one that serves, or in a new one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from deployer.commands import docker, hostvalues, layout, networks
from deployer.commands.app import current_name
from deployer.config import DeployConfig, Role
from freehold.shellwords import split_words

_SHELL = re.compile(r"[|&;<>()$`*?~#\n]|^\w+=")
_QUOTED = re.compile(r"'[^']*'|\"(?:[^\"$`\\]|\\.)*\"|\\.")


def words(line: str) -> list[str]:
    """A command line as argv. Where it says something only a shell understands, a shell gets it.

    Without one it goes to the image's entrypoint as it is, which also suits images that have no shell.
    """
    bare = _QUOTED.sub("_", line)
    if _SHELL.search(bare) or "'" in bare or '"' in bare:
        return ["sh", "-c", line]
    return split_words(line)


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
    first, *further = networks.of(role.options)
    flags = [] if detach else ["--rm", *docker.attach_flags(terminal=terminal, stdin=stdin)]
    flags += ["--pull", "never", "--network", first.text]
    flags += docker.logging_argv(role.logging, role.options)
    for volume in config.volumes:
        flags += ["--volume", volume]
    flags += ["--label", f"service={config.service}", "--label", f"destination={config.destination or ''}"]
    flags += ["--label", "freehold.exec=true"]
    flags += docker.options_argv(networks.rest(role.options, "publish", "name", "restart"))
    chosen = shlex.quote(version) if version else layout.serving(config.name, role.name)
    prefix = image.rsplit(":", 1)[0]
    rest = f"""\
--name {shlex.quote(config.container_prefix(role))}-exec-"$version-$RANDOM$RANDOM" \\
    {hostvalues.join(flags)} --env-file "$env" "${{names[@]}}" --env KAMAL_VERSION="$version" \\
    {shlex.join(_env(env))} \\
    {shlex.quote(prefix)}:"$version" {shlex.join(words(command))}"""
    return f"""version={chosen}
[ -n "$version" ] || {{ echo "nothing has been deployed yet" >&2; exit 3; }}
env={app}/versions/$version/{shlex.quote(role.name)}.env
[ -e "$env" ] || {{ echo "version $version has not been deployed here" >&2; exit 3; }}
names=()
if [ -e "$env.multi" ]; then
    . "$env.multi"
    readarray -t names < <({docker.NAMES_APART} "$env.multi" | sed 's/^/--env\\n/')
fi
{networks.attached(rest, further, detach=detach, interactive=terminal or stdin)}"""


def _env(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [word for name, value in pairs for word in ("--env", f"{name}={value}")]
