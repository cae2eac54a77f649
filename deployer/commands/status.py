"""How a host and the service's containers on it are doing: the question beside the answer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from deployer.commands import balance, layout
from deployer.commands.app import filters
from deployer.commands.balance import Behind
from deployer.commands.facts import HostFacts, facts_script, parse_facts
from deployer.commands.serving import latest
from deployer.config import DeployConfig
from deployer.script import Script, ScriptResult, Step

_STATS = "stats\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}"
_MACHINE = r"""
cpu() { awk '/^cpu / { busy = $2 + $3 + $4 + $7 + $8 + $9; print busy, busy + $5 + $6; exit }' /proc/stat; }
printf 'cpu\t%s\n' "$(cpu)"
ids=$(@ps@)
# Docker looks twice, a second apart; so does the processor's own count.
if [ -n "$ids" ]; then docker stats --no-stream --format '@stats@' $ids; else sleep 0.5; fi
printf 'cpu\t%s\n' "$(cpu)"
awk '/^(MemTotal|MemAvailable):/ { printf "memory\t%s\t%.0f\n", $1, $2 * 1024 }' /proc/meminfo
disk=/var/lib/docker
[ -e $disk ] || disk=/
printf 'disk\t%s\n' "$(df --block-size=1 --output=size,avail $disk | tail -n 1)"
printf 'load\t%s\n' "$(cut -d' ' -f1 /proc/loadavg)"
printf 'proxy\t%s\n' "$(systemctl is-active freehold-proxy.service || true)"
"""


@dataclass(frozen=True)
class ContainerStatus:
    """One container. `health` is what the probe answers now; empty where nothing is known.

    `mode` is `paused` or `maintenance` where the requests of one that serves are kept from it, and `draining`
    where one serves what was open at a switch, and nothing else.
    """

    host: str
    role: str
    version: str
    state: str
    health: str
    serves: bool
    cpu: str
    memory: str
    container: str
    mode: str = ""


@dataclass(frozen=True)
class HostStatus:
    """A host: shares from 0 to 1, sizes in bytes. `problem` says why nothing else is known."""

    host: str
    version: str | None = None
    cpu: float | None = None
    load: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    disk_used: int | None = None
    disk_total: int | None = None
    proxy: str = ""
    containers: tuple[ContainerStatus, ...] = ()
    behind: tuple[Behind, ...] = ()
    """The hosts that it spreads requests over."""
    problem: str = ""


def status_script(config: DeployConfig, host: str) -> Script:
    """Everything that `parse_status` reads, in one go."""
    ps = shlex.join(["docker", "ps", "--quiet", *filters(config)])
    machine = _MACHINE.replace("@ps@", ps).replace("@stats@", _STATS)
    probes = []
    for role in config.roles_on(host):
        if role.proxy is None:
            continue
        prefix = config.container_prefix(role)
        target, paused = shlex.quote(layout.target(prefix)), shlex.quote(layout.paused(prefix))
        page = shlex.quote(layout.maintenance(prefix))
        check = role.proxy.healthcheck
        port = check.port or "${target##*:}"
        path = shlex.quote(check.path)
        # As `wait_web` asks.
        flags = "--header 'X-Forwarded-Proto: https' " if role.proxy.ssl else ""
        for name in role.proxy.names:
            flags += f'--connect-to {shlex.quote(name)}"::${{target%%:*}}:{port}" '
        probes.append(
            # While requests wait, the target leads nowhere, and another file says where it led.
            f"if [ -e {target} ]; then target=$(cat {paused} 2>/dev/null || cat {target}) mode=\n"
            f"if [ -e {paused} ]; then mode=paused; elif [ -e {page} ]; then mode=maintenance; fi\n"
            f"printf 'probe\\t%s\\t%s\\t%s\\n' {role.name} \"$(curl --silent --output /dev/null "
            "--write-out '%{http_code}\\t%{num_redirects} %{url_effective}' --location --max-redirs 10 "
            f"--proto-redir =http,https --max-time 3 --header 'User-Agent: freehold-health' {flags}"
            f'"http://${{target%%:*}}:{port}"{path})" "$mode"\nfi'
        )
    facts = [step for step in facts_script(config, host).steps if step.name == "state"]
    steps = [*facts, Step("machine", machine, "load"), Step("probes", "\n".join([*probes, "true"]), "health")]
    if config.balanced_on(host):
        steps.append(Step("behind", balance.LOOK, "the hosts behind it"))
    return Script(tuple(steps), keep_going=True)


def parse_status(config: DeployConfig, result: ScriptResult) -> HostStatus:
    """The answer of `status_script`."""
    facts = parse_facts(config, result)
    cells = [line.split("\t") for line in (*result.lines("machine"), *result.lines("probes"))]
    busy = [tuple(map(float, row[1].split())) for row in cells if row[0] == "cpu" and len(row) == 2]
    memory = {row[1]: int(row[2]) for row in cells if row[0] == "memory" and len(row) == 3}
    single = {row[0]: row[1] for row in cells if row[0] in ("disk", "load", "proxy") and len(row) == 2}
    stats = {
        row[1]: (row[2], row[3].partition(" /")[0]) for row in cells if row[0] == "stats" and len(row) == 4
    }
    probes = {row[1]: (row[2], row[3], row[4]) for row in cells if row[0] == "probe" and len(row) == 5}
    size, free = (int(word) for word in single.get("disk", "0 0").split())
    total = memory.get("MemTotal:")
    failed = result.failed
    return HostStatus(
        facts.host,
        latest(config, facts),
        cpu=share(busy),
        load=float(single["load"]) if "load" in single else None,
        memory_used=total - memory.get("MemAvailable:", 0) if total else None,
        memory_total=total,
        disk_used=size - free if size else None,
        disk_total=size or None,
        proxy=single.get("proxy", ""),
        containers=containers(config, facts, stats, probes),
        behind=balance.parse_look(
            result.lines("behind"),
            [config.container_prefix(role) for role in config.balanced_on(facts.host)],
        ),
        problem=(failed.lines[-1] if failed.lines else f"{failed.name} failed") if failed else "",
    )


def share(busy: list[tuple[float, ...]]) -> float | None:
    """The part of the processor's time that was used between two looks."""
    if len(busy) != 2 or busy[1][1] <= busy[0][1]:
        return None
    return round((busy[1][0] - busy[0][0]) / (busy[1][1] - busy[0][1]), 3)


def containers(
    config: DeployConfig,
    facts: HostFacts,
    stats: dict[str, tuple[str, str]],
    probes: dict[str, tuple[str, str, str]],
) -> tuple[ContainerStatus, ...]:
    """The containers of a host, those that run first."""
    found = []
    # Their names on the host tell what they use; what a killed deploy has pushed aside is called as ever.
    pairs = zip(facts.containers, facts.settled().containers, strict=True)
    for named, container in sorted(pairs, key=lambda pair: (not pair[0].running, pair[0].role)):
        role = next((role for role in config.roles if role.name == container.role), None)
        committed = container.version == facts.serving(container.role) and not container.replaced
        serves = container.running and committed
        if role is not None and role.proxy is not None:
            dialled = facts.targets.get(config.container_prefix(role), "")
            serves = bool(container.address) and dialled.partition(":")[0] == container.address
        health, mode = "", "draining" if container.lingering and not serves else ""
        if "(" in container.status and container.running:
            health = container.status.rpartition("(")[2].rstrip(")").removeprefix("health: ")
        if serves and container.role in probes:
            answer, way, mode = probes[container.role]
            redirects, _, where = way.partition(" ")
            led = "" if redirects == "0" else f", led to {where}"
            health = f"answers {answer.replace('000', 'nothing')}{led}"
            if answer.startswith("2"):
                health = "healthy"
        cpu, memory = stats.get(named.name, ("", ""))
        found.append(
            ContainerStatus(
                facts.host,
                container.role,
                container.version,
                container.state,
                health,
                serves,
                cpu,
                memory,
                container.id[:12] if container.name == container.id else container.name,
                mode,
            )
        )
    return tuple(found)
