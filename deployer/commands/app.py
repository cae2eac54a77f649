"""Looking at and handling the application's containers: list, start, stop, remove."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from deployer.commands import docker, jobs, layout, phases, proxy, prune
from deployer.commands.facts import Container
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step

EXEC = "label=freehold.exec=true"


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
        exact = shlex.join([*ps, "--filter", docker.named(config.container_name(role, version))])
        return f"$({exact} | head -n 1)"
    # `docker ps` lists the newest first; one that steps aside or is being tried is not the one that serves.
    last = layout.serving(config.name, role.name)
    serving = f'{shlex.join(ps)} | grep -Fx -- {shlex.quote(config.container_prefix(role))}-"{last}"'
    return f"$({{ {serving} || {shlex.join(ps)} | grep -v _replaced_; }} | head -n 1)"


def details(config: DeployConfig) -> Script:
    """Containers of the service, running or not."""
    fields = ("{{.Names}}", "{{.State}}", "{{.Status}}", "{{.Image}}", "{{.RunningFor}}")
    ps = ["docker", "ps", "--all", *filters(config), "--format", "\t".join(("{{.ID}}", *fields))]
    # One that goes on with what was open at a switch has a file that is called by its id.
    state = f"""while IFS=$'\\t' read -r id name state rest; do
    if [ "$state" = running ] && compgen -G {layout.open_streams(config.name)}/"$id*" >/dev/null; then
        state=draining
    fi
    printf '%s\\t%s\\t%s\\n' "$name" "$state" "$rest"
done"""
    return Script((Step("containers", f"{shlex.join(ps)} | {state}", "containers"),))


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


def stop(config: DeployConfig, roles: Sequence[Role]) -> Script:
    """Stop what runs of these roles; requests wait, then fail, until it is started again."""
    steps = []
    for role in roles:
        ps = shlex.join(["docker", "ps", "--quiet", *filters(config, role)])
        grace = phases.grace(config, role, drained=False)
        shell = f"{ps} | xargs -r docker stop --time {grace}"
        steps.append(Step(f"stop-{role.name}", shell, f"stop {role.name}", grace))
    return phases.guarded(config, steps)


def stop_containers(config: DeployConfig, containers: Sequence[Container]) -> Script:
    """Stop these containers; they stay for a rollback."""
    names = [container.name for container in containers]
    # Each as long as it was started to have; of other versions, which may have had longer.
    grace = max((phases.grace(config, role, drained=False) for role in config.roles), default=0)
    stop_step = Step("stop", shlex.join(["docker", "stop", *names]), "stop stale containers", grace)
    return phases.guarded(config, [stop_step] if names else [])


def start(config: DeployConfig, roles: Sequence[Role], versions: Mapping[str, str]) -> Script:
    """Start the containers of the roles' versions again and wait until they are healthy."""
    return phases.revive(config, roles, versions)


def remove(config: DeployConfig, roles: Sequence[Role], *, everything: bool = True) -> Script:
    """The roles' routes, targets and containers on a host; with `everything` its images and files too."""
    targets = [proxy.forget_fragment(config, role) for role in roles if role.proxy]
    steps = []
    if targets:
        steps.append(Step("routes", proxy.activate_fragment(config, None), "no more traffic"))
        steps.append(Step("targets", "\n".join(targets), "targets"))
    for role in roles:
        ps = shlex.join(["docker", "ps", "--all", "--quiet", *filters(config, role)])
        grace = phases.grace(config, role, drained=False)
        shell = f"{ps} | xargs -r docker stop --time {grace}\n{ps} | xargs -r docker rm --force"
        steps.append(Step(f"remove-{role.name}", shell, f"remove {role.name}", grace))
    # Those of roles that were left out stay.
    steps.append(jobs.install_step(config, None))
    if not everything:
        names = [role.name for role in roles]
        words = ["forget_roles", layout.history(config.name), ",".join(config.left_out), *names]
        steps.append(Step("history", shlex.join(words), f"forget {', '.join(names)}"))
    if everything:
        # What was run by `app exec` has no role.
        rest = shlex.join(["docker", "ps", "--all", "--quiet", *filters(config), "--filter", EXEC])
        steps.append(Step("remove-exec", f"{rest} | xargs -r docker rm --force", "remove exec containers"))
        steps.append(Step("images", prune.images_fragment(config), "remove its images"))
        steps.append(Step("files", f"rm -rf {shlex.quote(layout.app(config.name))}", "remove its files"))
    return phases.guarded(config, steps)


def remove_container(config: DeployConfig, roles: Sequence[Role], version: str) -> Script:
    """The container of one version; one that runs is not removed."""
    names = [shlex.quote(config.container_name(role, version)) for role in roles]
    lines = [f'if [ -n "$(container_id {name})" ]; then docker rm {name}; fi' for name in names]
    return phases.guarded(config, [Step("remove", "\n".join(lines), f"remove {version}")])


def remove_containers(config: DeployConfig, roles: Sequence[Role]) -> Script:
    """Every container of these roles that does not run."""
    steps = []
    for role in roles:
        states = [word for state in prune.STOPPED for word in ("--filter", f"status={state}")]
        ps = shlex.join(["docker", "ps", "--all", "--quiet", *filters(config, role), *states])
        steps.append(Step(f"remove-{role.name}", f"{ps} | xargs -r docker rm", f"remove {role.name}"))
    return phases.guarded(config, steps)


def remove_files(config: DeployConfig) -> Script:
    """The directory of the service; not while a container is left, which could not be started again."""
    ps = shlex.join(["docker", "ps", "--all", "--quiet", *filters(config)])
    shell = f"""if [ -n "$({ps})" ]; then
    echo "failed: containers of {config.name} are left on this host"
    exit 1
fi
rm -rf {shlex.quote(layout.app(config.name))}"""
    return phases.guarded(config, [Step("files", shell, "remove its files")])


def remove_images(config: DeployConfig) -> Script:
    """Every image of the service that no container uses."""
    return phases.guarded(config, [Step("images", prune.images_fragment(config), "remove its images")])
