"""What a host is doing now: the question (shell fragments) beside the answer (a parser)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cloudinit.services import APP_BRIDGE
from deployer.commands import layout
from deployer.commands.balance import parse_ways, ways_step
from deployer.commands.hostproxy import run_of, words
from deployer.config import DeployConfig, Role
from deployer.script import Script, ScriptResult, Step

_FIELDS = (
    "{{.Names}}",
    "{{.State}}",
    '{{.Label "role"}}',
    '{{.Label "destination"}}',
    '{{.Label "version"}}',
    '{{.Label "freehold.address"}}',
    "{{.Image}}",
    "{{.ID}}",
    "{{.CreatedAt}}",
    "{{.Status}}",
)


@dataclass(frozen=True)
class Container:
    """A container of the service on a host, as `docker ps` tells."""

    name: str
    state: str
    role: str
    version: str
    address: str
    image: str
    id: str
    created: str
    status: str
    lingering: str = ""
    """What is noted of one that serves only what was open at a switch (`commands/streams.py`)."""

    @property
    def running(self) -> bool:
        """It runs, or Docker starts it again and again."""
        return self.state in ("running", "restarting", "paused")

    @property
    def replaced(self) -> bool:
        """Its name is another one's of the same version, for which it has stepped aside."""
        return "_replaced_" in self.name or self.name == self.id


@dataclass(frozen=True)
class Served:
    """A version that served, and the roles it served for; of an older line, which names none, all."""

    version: str
    roles: tuple[str, ...] = ()

    def by(self, role: str) -> bool:
        """Whether it served for the role."""
        return not self.roles or role in self.roles


@dataclass(frozen=True)
class HostFacts:
    """A host before a deploy. `history` is what served, oldest first; `canaries` what is being tried.

    Roles are deployed together or alone (`-r`), so each has a version of its own.
    """

    host: str
    containers: tuple[Container, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Served, ...] = ()
    canaries: Mapping[str, str] = field(default_factory=dict)
    manual_lock: str = ""
    pending: Mapping[str, str] = field(default_factory=dict)
    """Names that a deploy has taken which was never committed, and the ids of what served under them."""
    images: str = ""
    """What the transfer's own question answered."""
    ways: tuple[tuple[str, str], ...] = ()
    """Of a host in front of others: each of these, and an address from which it is reached."""

    @property
    def version(self) -> str | None:
        """The version that was committed here last, for whichever role."""
        return self.history[-1].version if self.history else None

    def served(self, role: str) -> tuple[str, ...]:
        """The versions that served for a role, the last one first, each once."""
        return tuple(dict.fromkeys(line.version for line in reversed(self.history) if line.by(role)))

    def serving(self, role: str) -> str | None:
        """The version that serves for a role; None where none has yet."""
        return next(iter(self.served(role)), None)

    def of_role(self, role: Role) -> tuple[Container, ...]:
        """The containers of a role, in any state."""
        return tuple(container for container in self.containers if container.role == role.name)

    def behind(self, role: Role, prefix: str) -> tuple[Container, ...]:
        """The containers of a role to which its target, named `prefix`, sends requests."""
        address = self.targets.get(prefix, "").partition(":")[0]
        return tuple(c for c in self.of_role(role) if c.address and c.address == address)

    def settled(self) -> HostFacts:
        """The host as the next deploy or rollback has it, which gives the names of `pending` back.

        What was never committed has no name then, and is called by its id.
        """
        served = {id_: name for name, id_ in self.pending.items() if id_}
        containers = tuple(
            replace(c, name=served[c.id])
            if c.id in served
            else replace(c, name=c.id)
            if c.name in self.pending
            else c
            for c in self.containers
        )
        return replace(self, containers=containers)

    def versions(self, role: Role) -> frozenset[str]:
        """The versions of a role for which a container is here, running or not."""
        return frozenset(c.version for c in self.of_role(role) if not c.replaced)


_INSTALLED = 'command -v docker >/dev/null || { echo "failed: Docker is not installed"; exit 1; }'
_DOCKER = rf"""{_INSTALLED}
if ! found=$(docker version --format '{{{{.Server.Version}}}}' 2>&1); then
    echo "failed: Docker does not answer: $(tail -n 1 <<<"$found")"
    exit 1
fi
echo "version $found"
"""


def docker_step() -> Step:
    """Docker is there, runs, and this user may use it."""
    return Step("docker", _DOCKER, "Docker answers")


def state_step(config: DeployConfig) -> Step:
    """Docker answers; containers, targets, history, a lock that somebody took on purpose."""
    app = layout.app(config.name)
    filters = ["--filter", f"label=service={config.service}"]
    ps = shlex.join(
        ["docker", "ps", "--all", "--no-trunc", *filters, "--format", "container\t" + "\t".join(_FIELDS)]
    )
    return Step(
        "state",
        f"""{_INSTALLED}
if ! found=$({ps} 2>&1); then
    echo "failed: Docker does not answer: $(tail -n 1 <<<"$found")"
    exit 1
fi
if [ -n "$found" ]; then printf '%s\\n' "$found"; fi
for path in {layout.PROXY}/targets/* {layout.PROXY}/targets/.*.paused; do
    [ -e "$path" ] || continue
    name=${{path##*/}} name=${{name%.paused}} target=
    read -r target <"$path" || true
    printf 'target\\t%s\\t%s\\n' "${{name#.}}" "$target"
done
for path in {layout.PROXY}/canary/*/version; do
    [ -e "$path" ] || continue
    name=${{path%/version}}
    printf 'canary\t%s\t%s\n' "${{name##*/}}" "$(cat "$path")"
done
for path in {layout.before(config.name)}/*/.containers; do
    if [ -e "$path" ]; then sed 's/^/pending\\t/' "$path"; fi
done
for path in {layout.open_streams(config.name)}/*; do
    case $path in */watch | *.new | */'*') continue ;; esac
    name=${{path%.ending}} line=
    read -r line <"$path" || true
    printf 'open\\t%s\\t%s\\n' "${{name##*/}}" "$line"
done
if [ -e {app}/history ]; then sed 's/^/history\\t/' {app}/history; fi
if [ -e {app}/lock ]; then sed 's/^/lock\\t/' {app}/lock; fi
true""",
        "what runs there",
    )


def proxy_step(listens: Sequence[str] = ()) -> Step:
    """The proxy is there, its admin socket answers this user, and it runs as `proxy.run` has it."""
    wanted = shlex.join(listens)
    # Where it says no size of the log, that is the profile's.
    spared = "" if any(word.startswith("log=") for word in listens) else "log=*) ;;"
    exact = f"""
for word in $line; do
    case $word in
    {" | ".join(map(shlex.quote, listens))}) ;;
    {spared}
    *) echo "failed: the proxy does not run as proxy.run says: that has no $word"; exit 1 ;;
    esac
done"""
    return Step(
        "proxy",
        f"""\
[ -x {layout.CADDY} ] || {{ echo "failed: the proxy is not installed"; exit 1; }}
[ -d {layout.PROXY} ] || {{ echo "failed: {layout.PROXY} is missing"; exit 1; }}
[ -w {layout.PROXY} ] || {{ echo "failed: {layout.PROXY} may not be written by $(id -un)"; exit 1; }}
# Docker makes the bridge with the network, and takes it away with it.
[ -d /sys/class/net/{APP_BRIDGE} ] || docker network inspect {layout.NETWORK} --format '{{{{.Name}}}}' 2>&1 ||
    {{ echo "failed: the Docker network {layout.NETWORK} is missing"; exit 1; }}
if ! systemctl --quiet is-active freehold-proxy.service; then
    echo "failed: the proxy does not run: $(systemctl is-active freehold-proxy.service)"
    exit 1
fi
line=" $(sed -n '1s/^# listens: //p' {layout.CADDYFILE} 2>/dev/null) "
for word in {wanted}; do
    case $line in
    *" $word "*) ;;
    *) echo "failed: the proxy does not run as proxy.run says: $word is not among$line"; exit 1 ;;
    esac
done{exact if listens else ""}""",
        "the proxy is ready",
    )


def facts_script(config: DeployConfig, host: str, images: str = "") -> Script:
    """Everything a deploy asks a host, in one go; `images` is the transfer's question."""
    steps = [state_step(config)]
    if any(role.proxy is not None for role in config.routed_on(host)):
        run = run_of(config, host)
        steps.append(proxy_step(words(run) if run is not None else ()))
    if config.balanced_on(host):
        steps.append(ways_step(config, host))
    if images:
        steps.append(Step("images", images, "which layers it has"))
    return Script(tuple(steps), open=True)


def state_script(config: DeployConfig) -> Script:
    """What a host runs, for those who only look: also where its proxy is down."""
    return Script((state_step(config),))


def _version_of(config: DeployConfig, role: str, name: str, label: str) -> str:
    """The version of a container, by its name: a label `version` may be the file's own, or the image's."""
    if not role:
        return ""
    prefix = "-".join(part for part in (config.service, role, config.destination) if part) + "-"
    name = name.partition("_replaced_")[0]
    return name.removeprefix(prefix) if name.startswith(prefix) else label or name


def parse_facts(config: DeployConfig, result: ScriptResult) -> HostFacts:
    """The answer of `facts_script`."""
    containers: list[Container] = []
    targets: dict[str, str] = {}
    history: list[Served] = []
    canaries: dict[str, str] = {}
    lock: list[str] = []
    pending: dict[str, str] = {}
    lingering: dict[str, str] = {}
    for line in result.lines("state"):
        kind, _, rest = line.partition("\t")
        cells = rest.split("\t")
        if kind == "container" and len(cells) == len(_FIELDS):
            name, state, role, destination, label, address, image, id_, created, status = cells
            if destination == (config.destination or ""):
                version = _version_of(config, role, name, label)
                containers.append(Container(name, state, role, version, address, image, id_, created, status))
        elif kind == "target" and len(cells) == 2:
            targets[cells[0]] = cells[1]
        elif kind == "canary" and len(cells) == 2:
            canaries[cells[0]] = cells[1]
        elif kind == "history" and len(parts := rest.split()) >= 2:
            history.append(Served(parts[1], tuple(parts[2].split(",")) if parts[2:] else ()))
        elif kind == "pending":
            name, _, pending[name] = rest.partition(" ")
        elif kind == "open" and len(cells) == 2:
            lingering[cells[0]] = cells[1]
        elif kind == "lock":
            lock.append(rest)
    containers = [replace(c, lingering=lingering.get(c.id, "") if c.running else "") for c in containers]
    return HostFacts(
        result.host,
        tuple(containers),
        targets,
        tuple(history),
        canaries,
        "\n".join(lock),
        pending,
        result.output("images"),
        parse_ways(result),
    )
