"""The last phase of a deploy on a host: the old version ends, and what nobody needs any more goes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deployer.commands import balance, certificates, front, jobs, layout, phases, streams
from deployer.commands.facts import Container, HostFacts
from deployer.config import DeployConfig
from deployer.script import Script, ScriptResult, Step, discard


@dataclass(frozen=True)
class Leftovers:
    """Of other versions: containers to stop, containers to remove, images by the version they made."""

    stop: tuple[Container, ...] = ()
    remove: tuple[str, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)


def finish(
    config: DeployConfig,
    left: Leftovers,
    *,
    seen: int,
    version: str,
    audit: str,
    more: Sequence[Step] = (),
) -> Script:
    """Let the old containers finish their requests, stop them, prune, do `more`, write the audit line.

    Those which may go on with what is open (`stream_timeout`) are stopped later, without this deploy.

    Not where another deploy has been since `version` was committed on top of a history of `seen` lines.
    """
    steps = [phases.ours_step(config, seen, version)]
    proxied = {role.name for role in config.roles if role.proxy is not None}
    addresses = [c.address for c in left.stop if c.role in proxied and c.address and not c.lingering]
    if addresses:
        drain = shlex.join(["drain", str(round(config.drain_timeout)), *addresses])
        steps.append(Step("drain", drain, "requests on the old version end", config.drain_timeout))
    by_grace: dict[int, list[str]] = {}
    lasting: dict[str, Container] = {}
    stops = []
    for role in config.roles:
        old = [c for c in left.stop if c.role == role.name]
        seconds = phases.grace(config, role, drained=True)
        mine = {c.name: c for c in old if streams.may_go_on(config, role, c)}
        lasting |= mine
        if mine:
            stops.append((seconds, streams.stop_lines(config, role, seconds, old)))
        elif old:
            by_grace.setdefault(seconds, []).extend(c.name for c in old)
    lines = [
        shlex.join(["docker", "stop", "--time", str(seconds), *names]) for seconds, names in by_grace.items()
    ]
    if lasting:
        lines = [streams.watch_fragment(config), *lines, *(line for _, found in stops for line in found)]
    if lines:
        waits = sum(by_grace) + sum(seconds for seconds, _ in stops)
        steps.append(Step("stop", "\n".join(lines), "stop the old version", waits))
    if prune := _prune_lines(config, left, lasting):
        steps.append(Step("prune", "\n".join(prune), "prune"))
    kept = discard(layout.before(config.name))
    settle = f"{kept}\n{certificates.prune_fragment()}\n{streams.forget_fragment(config)}"
    steps += [Step("settle", settle, "forget the way back"), *more]
    steps.append(phases.audit_step(config, audit))
    return phases.guarded(config, steps, keep_going=True)


def _prune_lines(config: DeployConfig, left: Leftovers, lasting: Mapping[str, Container]) -> list[str]:
    """What is needed no more goes; where a container goes on, a later deploy or `prune` sees to it."""
    lines = []
    if names := [name for name in left.remove if name not in lasting]:
        lines.append(shlex.join(["docker", "rm", *names]))
    for name in left.remove:
        if name in lasting:
            lines.append(streams.unless_open(config, [lasting[name]], shlex.join(["docker", "rm", name])))
    for gone, image in left.gone.items():
        of_it = [c for c in lasting.values() if c.version == gone]
        # An image that another service uses too stays; that is no failure.
        image_line = f"docker image rm {shlex.quote(image)} || true"
        both = (image_line, phases.forget(config, gone))
        lines += [streams.unless_open(config, of_it, line) for line in both]
    return lines


def further(config: DeployConfig, known: HostFacts, version: str) -> list[Step]:
    """What else is seen to once a version serves: timers of jobs, certificates, the hosts behind this one."""
    steps = [jobs.install_step(config, version)]
    routed = config.routed_on(known.host)
    if secure := certificates.await_step([role for role in routed if known.host in role.secured]):
        steps.append(secure)
    return steps + front.finish_steps(config, known, version)


def missing(config: DeployConfig, result: ScriptResult) -> Iterator[str]:
    """What a host that serves a version lacks, as its answer to `further` says."""
    for name in certificates.missing(result):
        yield f"but without a certificate for {name}"
    prefixes = [config.container_prefix(role) for role in config.balanced_on(result.host)]
    for one in balance.parse_look(result.lines("behind"), prefixes):
        if one.state:
            told = f"{one.address}, which {one.state}; is its HTTP port open to this host?"
            yield f"but nothing goes to {told}"
