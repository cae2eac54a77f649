"""Running a command in a container of the application: in the one that serves, or in a new one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.commands import docker, hostvalues, layout, networks
from deployer.commands.app import current_name
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step
from freehold.secret import Secret
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


@dataclass(frozen=True)
class Passed:
    """Variables for one command. They travel ahead of it into files that only this user can read.

    Whatever stands in a command line is to be seen by everybody on the host, for as long as it runs.
    """

    values: Mapping[str, Secret] = field(default_factory=dict)
    token: str = ""
    """What the files are called: it differs from command to command."""

    @property
    def path(self) -> str:
        """Where they wait: in memory, so that none outlives the host."""
        return f"{layout.LOCKS}/exec-{self.token}.env"

    def script(self) -> Script:
        """Put them there; what a command has not fetched within the hour goes, as it will not come."""
        stale = f"find {layout.LOCKS} -maxdepth 1 -name 'exec-*.env*' -mmin +60 -delete 2>/dev/null || true"
        make = f"[ -d {layout.LOCKS} ] || mkdir -p {layout.LOCKS}"
        write = docker.env_fragment(self.path, {}, self.values)
        return Script((Step("environment", f"{make}\n{stale}\n{write}", "pass the environment"),))

    def fetch(self) -> str:
        """Shell lines that open the files and remove them: nothing is left once the command runs."""
        if not self.values:
            return ""
        path = shlex.quote(self.path)
        opened = f"exec 9<{path}" + (f" 8<{path}.multi" if self._lines else "")
        gone = '{ echo "the environment did not arrive" >&2; exit 125; }'
        return f"{{ {opened}; }} 2>/dev/null || {gone}\nrm -f {path} {path}.multi\n"

    def load(self) -> str:
        """Shell lines for values with line breaks. What the shell has under their names counts no more."""
        return ". /dev/fd/8\n" if self._lines else ""

    def flags(self) -> list[str]:
        """What Docker is told of them, once they have been fetched."""
        by_name = [word for name in self._lines for word in ("--env", name)]
        return ["--env-file", "/dev/fd/9", *by_name] if self.values else []

    def besides(self) -> str:
        """A part of a pipe with names of variables: without these, which come in a file that counts less."""
        names = [word for name in self.values for word in ("-e", name)]
        return f" | {{ grep -vxF {shlex.join(names)} || true; }}" if names else ""

    @property
    def _lines(self) -> list[str]:
        return docker.by_name({}, self.values)


def exec_reuse(
    config: DeployConfig,
    role: Role,
    command: str,
    *,
    env: Passed = Passed(),
    terminal: bool = False,
    stdin: bool = False,
    version: str | None = None,
) -> str:
    """Run a command in the container that serves."""
    flags = [*docker.attach_flags(terminal=terminal, stdin=stdin), *env.flags()]
    name = current_name(config, role, version)
    return (
        f"{env.fetch()}{env.load()}name={name}; "
        f'[ -n "$name" ] || {{ echo "no container of {role.name} runs" >&2; exit 3; }}; '
        f'exec docker exec {shlex.join(flags)} "$name" {shlex.join(words(command))}'
    )


def exec_new(
    config: DeployConfig,
    role: Role,
    command: str,
    *,
    version: str | None,
    env: Passed = Passed(),
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
    {shlex.join(env.flags())} \\
    {shlex.quote(prefix)}:"$version" {shlex.join(words(command))}"""
    return f"""{env.fetch()}version={chosen}
[ -n "$version" ] || {{ echo "nothing has been deployed yet" >&2; exit 3; }}
env={app}/versions/$version/{shlex.quote(role.name)}.env
[ -e "$env" ] || {{ echo "version $version has not been deployed here" >&2; exit 3; }}
names=()
if [ -e "$env.multi" ]; then
    . "$env.multi"
    readarray -t names < <({docker.NAMES_APART} "$env.multi"{env.besides()} | sed 's/^/--env\\n/')
fi
{env.load()}{networks.attached(rest, further, detach=detach, interactive=terminal or stdin)}"""
