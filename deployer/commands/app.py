"""Looking into and handling the containers that run: logs, exec, start, stop, remove, maintenance."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deployer.commands import docker, jobs, layout, phases, proxy
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step


def filters(config: DeployConfig, role: Role | None = None) -> list[str]:
    """`--filter` arguments for the service's containers, of one role where given."""
    wanted = [f"label=service={config.service}", f"label=destination={config.destination or ''}"]
    if role is not None:
        wanted.append(f"label=role={role.name}")
    return [word for item in wanted for word in ("--filter", item)]


def current_name(config: DeployConfig, role: Role, version: str | None = None) -> str:
    """Shell words that yield the running container of a role: of a version, or the one that serves."""
    ps = ["docker", "ps", *filters(config, role), "--filter", "status=running", "--format", "{{.Names}}"]
    if version:
        exact = shlex.join([*ps, "--filter", f"name=^/?{config.container_name(role, version)}$"])
        return f"$({exact} | head -n 1)"
    # `docker ps` lists the newest first; one that steps aside or is being tried is not the one that serves.
    last = f"$(tail -n 1 {layout.app(config.name)}/history 2>/dev/null | cut -d' ' -f2)"
    serving = f'{shlex.join(ps)} | grep -x -- {shlex.quote(config.container_prefix(role))}-"{last}"'
    return f"$({{ {serving} || {shlex.join(ps)} | grep -v _replaced_; }} | head -n 1)"


def details(config: DeployConfig) -> Script:
    """Containers of the service, running or not."""
    fields = ("{{.Names}}", "{{.State}}", "{{.Status}}", "{{.Image}}", "{{.RunningFor}}")
    ps = ["docker", "ps", "--all", *filters(config), "--format", "\t".join(fields)]
    return Script((Step("containers", shlex.join(ps), "containers"),))


def images(config: DeployConfig) -> Script:
    """Images of the service."""
    fields = ("{{.Repository}}:{{.Tag}}", "{{.ID}}", "{{.Size}}", "{{.CreatedSince}}")
    repository = config.image_name("x").rsplit(":", 1)[0]
    return Script(
        (Step("images", shlex.join(["docker", "images", repository, "--format", "\t".join(fields)])),)
    )


def audit(config: DeployConfig, lines: int) -> Script:
    """The last lines of the audit log."""
    log = f"{layout.app(config.name)}/audit.log"
    return Script((Step("audit", f"[ ! -e {log} ] || tail -n {lines} {log}", "audit"),))


def logs_command(
    config: DeployConfig,
    role: Role,
    *,
    follow: bool = False,
    lines: int | None = None,
    since: str | None = None,
    grep: str | None = None,
    grep_options: str | None = None,
    timestamps: bool = True,
) -> str:
    """`docker logs` of the container that serves. With `follow` it goes on with the next after a switch."""
    flags = ["--timestamps"] if timestamps else []
    if since:
        flags += ["--since", since]
    tail = ["--tail", str(lines)] if lines is not None else []
    find = ""
    if grep:
        line = ["--line-buffered"] if follow else []
        find = " | " + shlex.join(["grep", *line, *shlex.split(grep_options or ""), "--", grep])
    name = current_name(config, role)
    if not follow:
        return (
            f'name={name}; [ -n "$name" ] || {{ echo "no container of {role.name} runs" >&2; exit 3; }}; '
            f'docker logs {shlex.join([*flags, *tail])} "$name" 2>&1{find}'
        )
    again = shlex.join(["--timestamps"] if timestamps else [])
    return f"""follow() {{
    local name last= first={shlex.quote(shlex.join([*flags, *(tail or ["--tail", "10"])]))}
    while :; do
        name={name}
        if [ -z "$name" ] || [ "$name" = "$last" ]; then sleep 0.5; continue; fi
        eval "docker logs --follow $first \\"$name\\"" 2>&1
        last=$name first={shlex.quote(again)}
    done
}}
follow{find}"""


def exec_argv(
    role_cmd: Sequence[str], env: Sequence[tuple[str, str]], *, terminal: bool, stdin: bool
) -> list[str]:
    """The `docker exec` flags and command; the container's name goes in between by the caller."""
    flags = [*(["--tty"] if terminal else []), *(["--interactive"] if terminal or stdin else [])]
    for name, value in env:
        flags += ["--env", f"{name}={value}"]
    return [*flags, *role_cmd]


def exec_reuse(
    config: DeployConfig,
    role: Role,
    command: str,
    *,
    env: Sequence[tuple[str, str]] = (),
    terminal: bool = False,
    version: str | None = None,
) -> str:
    """Run a command in the container that serves."""
    flags = shlex.join(exec_argv((), env, terminal=terminal, stdin=False))
    name = current_name(config, role, version)
    return (
        f'name={name}; [ -n "$name" ] || {{ echo "no container of {role.name} runs" >&2; exit 3; }}; '
        f'exec docker exec {flags} "$name" sh -c {shlex.quote(command)}'
    )


def exec_new(
    config: DeployConfig,
    role: Role,
    command: str,
    *,
    version: str | None,
    env: Sequence[tuple[str, str]] = (),
    terminal: bool = False,
) -> str:
    """Run a command in a new container of a version (default: the one that serves), removed afterwards."""
    image, app = config.image_name("VERSION"), layout.app(config.name)
    flags = ["--rm", *exec_argv((), env, terminal=terminal, stdin=False), "--network", layout.NETWORK]
    for volume in config.volumes:
        flags += ["--volume", volume]
    flags += ["--label", f"service={config.service}", "--label", "freehold.exec=true"]
    flags += docker.options_argv({k: v for k, v in role.options.items() if k not in ("publish", "name")})
    chosen = shlex.quote(version) if version else f"$(tail -n 1 {app}/history 2>/dev/null | cut -d' ' -f2)"
    prefix = image.rsplit(":", 1)[0]
    return f"""version={chosen}
[ -n "$version" ] || {{ echo "nothing has been deployed yet" >&2; exit 3; }}
env={app}/versions/$version/{shlex.quote(role.name)}.env
if [ -e "$env.multi" ]; then
    . "$env.multi"
    names=$(sed -n 's/^export \\([^=]*\\)=.*/--env \\1/p' "$env.multi")
fi
exec docker run {shlex.join(flags)} --env-file "$env" $names --env KAMAL_VERSION="$version" \\
    {shlex.quote(prefix)}:"$version" sh -c {shlex.quote(command)}"""


def stop(config: DeployConfig, roles: Sequence[Role]) -> Script:
    """Stop what runs of these roles; requests wait, then fail, until it is started again."""
    steps = []
    for role in roles:
        ps = shlex.join(["docker", "ps", "--quiet", *filters(config, role)])
        grace = role.stop_timeout or config.drain_timeout
        shell = f"{ps} | xargs -r docker stop --time {round(grace)}"
        steps.append(Step(f"stop-{role.name}", shell, f"stop {role.name}"))
    return phases.guarded(config, steps)


def start(config: DeployConfig, roles: Sequence[Role], version: str) -> Script:
    """Start the containers of a version again and wait until they are healthy."""
    return phases.revive(config, roles, version)


def remove(config: DeployConfig, roles: Sequence[Role]) -> Script:
    """Everything of the service on a host: routes, targets, containers, images, files."""
    targets = [proxy.forget_fragment(config, role) for role in roles if role.proxy]
    repository = config.image_name("x").rsplit(":", 1)[0]
    steps = []
    if targets:
        steps.append(Step("routes", proxy.activate_fragment(config, None), "no more traffic"))
        steps.append(Step("targets", "\n".join(targets), "targets"))
    steps.append(jobs.install_step(config, None))
    for role in roles:
        ps = shlex.join(["docker", "ps", "--all", "--quiet", *filters(config, role)])
        shell = f"{ps} | xargs -r docker stop --time {phases.STOP_GRACE}\n{ps} | xargs -r docker rm --force"
        steps.append(Step(f"remove-{role.name}", shell, f"remove {role.name}"))
    found = f"docker images --quiet {shlex.quote(repository)} | sort -u"
    steps.append(Step("images", f"{found} | xargs -r docker image rm --force || true", "remove its images"))
    steps.append(Step("files", f"rm -rf {shlex.quote(layout.app(config.name))}", "remove its files"))
    return phases.guarded(config, steps)
