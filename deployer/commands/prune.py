"""What a host keeps of a service without need: old containers, images that nothing runs on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.commands import layout
from deployer.commands.facts import Container, HostFacts
from deployer.config import DeployConfig
from deployer.script import Step

STOPPED = ("created", "exited", "dead")


@dataclass(frozen=True)
class Useless:
    """Containers that neither run nor serve a rollback, and the versions that go with them."""

    containers: tuple[Container, ...] = ()
    versions: tuple[str, ...] = ()


def useless(config: DeployConfig, known: HostFacts, retain: int) -> Useless:
    """What may go: stopped, and not among the version that serves its role and the last `retain` before it.

    Where nothing has served yet nothing goes: whatever is there was started by somebody else.
    """
    kept = {role.name: known.served(role.name)[: retain + 1] for role in config.roles_on(known.host)}
    going = [
        container
        for container in known.containers
        if kept.get(container.role)
        and not container.running
        and (container.replaced or container.version not in kept[container.role])
    ]
    left = {c.version for c in known.containers if c not in going}
    left.update(version for names in kept.values() for version in names)
    versions = dict.fromkeys(c.version for c in going if c.version and c.version not in left)
    return Useless(tuple(going), tuple(versions))


def stale(config: DeployConfig, known: HostFacts) -> tuple[Container, ...]:
    """Containers that run although another version serves their role, and that nobody is trying.

    Those that go on with what was open are among them (`lingering`).

    What a role's target dials has the requests, whatever is remembered: a commit may have been cut off.
    """
    roles = config.roles_on(known.host)
    tried = {role.name: known.canaries.get(config.container_prefix(role)) for role in roles}
    wanted = {role.name: {known.serving(role.name), tried[role.name]} for role in roles}
    dialled = {
        container.id for role in roles for container in known.behind(role, config.container_prefix(role))
    }
    return tuple(
        container
        for container in known.containers
        if container.role in wanted
        and container.running
        and container.id not in dialled
        and not (container.name == container.id and container.version == tried[container.role])
        and (container.replaced or container.version not in wanted[container.role])
    )


def containers_steps(config: DeployConfig, found: Useless) -> list[Step]:
    """Remove them, by id; whatever runs by now Docker refuses to remove. Their versions' files go too."""
    steps = []
    if found.containers:
        ids = shlex.join(container.id for container in found.containers)
        steps.append(Step("containers", f"docker rm {ids}", "remove old containers"))
    ended = [word for state in STOPPED for word in ("--filter", f"status={state}")]
    labels = [f"label=service={config.service}", "label=freehold.exec=true"]
    words = [word for label in labels for word in ("--filter", label)]
    ps = shlex.join(["docker", "ps", "--all", "--quiet", *words, *ended])
    steps.append(Step("exec", f"{ps} | xargs -r docker rm", "remove what `app exec` left"))
    if found.versions:
        paths = shlex.join(
            path for version in found.versions for path in layout.everything(config.name, version)
        )
        steps.append(Step("versions", f"rm -rf {paths}", "forget old versions"))
    return steps


def images_fragment(config: DeployConfig) -> str:
    """Remove every image of the service that no container on the host was made of, and nameless ones."""
    repository = shlex.quote(config.repository)
    label = shlex.quote(f"label=service={config.service}")
    return f"""used=" $(docker ps --all --quiet |
    xargs -r docker inspect --format '{{{{.Image}}}} {{{{.Config.Image}}}}' | tr '\\n' ' ') "
docker images {repository} --no-trunc --format '{{{{.ID}}}} {{{{.Repository}}}}:{{{{.Tag}}}}' |
    while read -r id name; do
        case $used in *" $id "* | *" $name "*) continue ;; esac
        case $name in *:'<none>') continue ;; esac
        docker image rm "$name" || true
    done
docker image prune --force --filter {label}"""


def steps(
    config: DeployConfig, known: HostFacts, *, containers: bool, images: bool, retain: int | None = None
) -> Sequence[Step]:
    """The steps of `prune`."""
    found: list[Step] = []
    if containers:
        kept = retain if retain is not None else config.retain_containers
        found += containers_steps(config, useless(config, known, kept))
    if images:
        found.append(Step("images", images_fragment(config), "remove images that nothing uses"))
    return found
