"""The scripts of a deploy: prepare, commit, finish, and the way back. One per host and phase."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployer.commands import assets, certificates, docker, jobs, layout, pages, proxy
from deployer.commands.facts import Container, HostFacts
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step, discard, heredoc

STOP_GRACE = 10


def grace(config: DeployConfig, role: Role, *, drained: bool) -> int:
    """Seconds between the stop signal and the end: `stop_timeout`, or what requests and jobs may take.

    A proxied container whose requests have ended (`drained`) has nothing to wait for any more.
    """
    if role.stop_timeout is not None:
        return round(role.stop_timeout)
    return STOP_GRACE if drained and role.proxy is not None else round(config.drain_timeout)


def guarded(config: DeployConfig, steps: Sequence[Step], *, keep_going: bool = False) -> Script:
    """A script that changes a service on a host: one at a time, with the words of `data/host/`."""
    guard, library = layout.guard(config.name), layout.library()
    return Script(tuple(steps), guard=guard, library=library, keep_going=keep_going)


def prepare(
    config: DeployConfig,
    host: str,
    roles: Sequence[Role],
    version: str,
    image: str,
    *,
    retag: Sequence[str] = (),
) -> Script:
    """Start the new containers of `roles` and wait until they are ready. No traffic reaches them."""
    steps = [
        Step(
            "store",
            "\n".join(
                [
                    *([shlex.join(retag)] if retag else []),
                    shlex.join(["keep_files", *_files(config, version)]),
                    f"mkdir -p {shlex.quote(layout.version(config.name, version))}",
                    proxy.store_fragment(config.name, version, proxy.files(config, config.roles_on(host))),
                    *(_manner(config, role, version, host) for role in roles),
                    jobs.store_fragment(config, host, version),
                    pages.store_fragment(config.name, version, config.error_pages),
                ]
            ),
            "keep the version's routes",
        )
    ]
    pairs = certificates.pairs(config, roles)
    if pairs:
        written = certificates.store_fragment(list(pairs.values()))
        steps.append(Step("certificates", written, "certificates"))
    for role in roles:
        if role.asset_path is not None:
            bridge = assets.fragment(config, role, version, image)
            steps.append(Step(f"assets-{role.name}", bridge, f"assets of {role.name}"))
    for role in roles:
        clear, secret = config.env_for(role, host)
        env = docker.env_fragment(layout.env_file(config.name, version, role.name), clear, secret)
        # For `diff`, which shows old values of clear variables and never those of secrets.
        names = shlex.quote(layout.names_file(config.name, version, role.name))
        env += f"\ncat >{names} " + heredoc("".join(f"{name}\n" for name in sorted(secret)))
        steps.append(Step(f"env-{role.name}", env, f"environment of {role.name}"))
    starts = [
        Step(
            f"start-{role.name}",
            docker.start_fragment(config, role, version, host, image),
            f"start {role.name}",
        )
        for role in roles
    ]
    ready = ready_steps(config, roles, version)
    if config.boot.parallel_roles:
        steps += [*starts, *ready]
    else:
        steps += [step for pair in zip(starts, ready, strict=True) for step in pair]
    return guarded(config, steps)


def _manner(config: DeployConfig, role: Role, version: str, host: str) -> str:
    """Keep how a role's container is probed and reached beside it: a rollback asks as its version did.

    And how it is run, for `diff`.
    """
    probe = shlex.quote(layout.probe_file(config.name, version, role.name))
    lines = [f"printf '%s\\n' {shlex.quote(docker.health_fragment(config, role, version))} >{probe}"]
    if role.proxy is not None:
        port = shlex.quote(layout.port_file(config.name, version, role.name))
        lines.append(f"echo {role.proxy.app_port} >{port}")
    run = "".join(f"{line}\n" for line in docker.manner(config, role, version, host))
    lines.append(f"cat >{shlex.quote(layout.run_file(config.name, version, role.name))} {heredoc(run)}")
    return "\n".join(lines)


def _files(config: DeployConfig, version: str) -> tuple[str, str]:
    """A version's directory, and where it is kept while the same version is deployed again."""
    return layout.version(config.name, version), layout.before(config.name, version)


def ready_steps(config: DeployConfig, roles: Sequence[Role], version: str) -> list[Step]:
    """Wait for each role's container."""
    return [
        Step(f"health-{role.name}", docker.health_fragment(config, role, version), f"{role.name} is healthy")
        for role in roles
    ]


def revive(config: DeployConfig, roles: Sequence[Role], version: str) -> Script:
    """Start the kept containers of a version again: image, configuration and environment as they were."""
    names = [config.container_name(role, version) for role in roles]
    steps = [Step("start", shlex.join(["docker", "start", *names]), f"start {version} again")]
    for step in ready_steps(config, roles, version):
        role = step.name.removeprefix("health-")
        probe = shlex.quote(layout.probe_file(config.name, version, role))
        shell = f"if [ -e {probe} ]; then . {probe}; else {step.shell}; fi"
        steps.append(Step(step.name, shell, step.title))
    return guarded(config, steps)


def commit(config: DeployConfig, roles: Sequence[Role], version: str) -> Script:
    """Give the new containers the traffic: targets by rename, routes only where they changed."""
    steps = [
        Step(f"switch-{role.name}", proxy.switch_fragment(config, role, version), f"traffic to {role.name}")
        for role in roles
        if role.proxy is not None
    ]
    if steps:
        steps.append(Step("routes", proxy.activate_fragment(config, version), "routes"))
    line = f"""TZ=UTC0 printf '%(%Y-%m-%dT%H:%M:%SZ)T %s\\n' -1 {shlex.quote(version)}"""
    remember = f"{line} >>{layout.app(config.name)}/history"
    return guarded(config, [*steps, Step("history", remember, "remember the version")])


def switched(config: DeployConfig, roles: Sequence[Role], version: str, served: int) -> Script:
    """Succeeds where `commit` came to its end; `served` is the length of the history before it.

    Waits for a commit that still runs, as all scripts of a host do for one another.
    """
    history = f"{layout.app(config.name)}/history"
    checks = [
        f'[ "$(cat {history} 2>/dev/null | wc -l)" -gt {served} ] || '
        '{ echo "failed: this host had not switched"; exit 1; }'
    ]
    for role in roles:
        if role.proxy is not None:
            words = shlex.join([config.container_prefix(role), config.container_name(role, version)])
            checks.append(f'serves {words} || {{ echo "failed: the traffic goes elsewhere"; exit 1; }}')
    return guarded(config, [Step("switched", "\n".join(checks), "what was switched")])


@dataclass(frozen=True)
class Leftovers:
    """Of other versions: containers to stop, containers to remove, images by the version they made."""

    stop: tuple[Container, ...] = ()
    remove: tuple[str, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)


def finish(config: DeployConfig, left: Leftovers, *, audit: str, more: Sequence[Step] = ()) -> Script:
    """Let the old containers finish their requests, stop them, prune, do `more`, write the audit line."""
    steps: list[Step] = []
    proxied = {role.name for role in config.roles if role.proxy is not None}
    addresses = [c.address for c in left.stop if c.role in proxied and c.address]
    if addresses:
        drain = shlex.join(["drain", str(round(config.drain_timeout)), *addresses])
        steps.append(Step("drain", drain, "requests on the old version end"))
    by_grace: dict[int, list[str]] = {}
    for role in config.roles:
        names = [c.name for c in left.stop if c.role == role.name]
        if names:
            by_grace.setdefault(grace(config, role, drained=True), []).extend(names)
    stops = [
        shlex.join(["docker", "stop", "--time", str(seconds), *names]) for seconds, names in by_grace.items()
    ]
    if stops:
        steps.append(Step("stop", "\n".join(stops), "stop the old version"))
    prune = []
    if left.remove:
        prune.append(shlex.join(["docker", "rm", *left.remove]))
    for version, image in left.gone.items():
        # An image that another service uses too stays; that is no failure.
        prune.append(f"docker image rm {shlex.quote(image)} || true")
        prune.append(_forget(config, version))
    if prune:
        steps.append(Step("prune", "\n".join(prune), "prune"))
    kept = discard(layout.before(config.name))
    settle = f"{kept}\n{certificates.prune_fragment()}"
    steps += [Step("settle", settle, "forget the way back"), *more]
    steps.append(audit_step(config, audit))
    return guarded(config, steps, keep_going=True)


def _forget(config: DeployConfig, version: str) -> str:
    return shlex.join(["rm", "-rf", *layout.everything(config.name, version)])


def audit_step(config: DeployConfig, line: str) -> Step:
    """One line in the service's audit log on the host."""
    app = layout.app(config.name)
    shell = f"""[ -d {app} ] || mkdir -p {app}
TZ=UTC0 printf '[%(%Y-%m-%dT%H:%M:%SZ)T] %s\\n' -1 {shlex.quote(line)} >>{app}/audit.log"""
    return Step("audit", shell, "audit")


def undo(
    config: DeployConfig, facts: HostFacts, roles: Sequence[Role], version: str, *, audit: str
) -> Script:
    """Put a host back to what `facts` say, whatever has happened since. May be repeated.

    Traffic first: the old containers still run. Then the new ones are drained, stopped and removed,
    except those that were there before, which are only stopped.
    """
    before = {container.name: container for container in facts.containers}
    steps: list[Step] = []
    targets: list[str] = []
    for role in roles:
        if role.proxy is None:
            continue
        prefix = config.container_prefix(role)
        targets.append(shlex.join(["unsplit", prefix]))
        if prefix in facts.targets:
            targets.append(shlex.join(["write_target", prefix, facts.targets[prefix]]))
            targets.append(proxy.link_fragment(config, role, facts.version))
        else:
            targets.append(shlex.join(["rm", "-f", layout.target(prefix), layout.current(prefix)]))
    if targets:
        steps.append(Step("traffic", "\n".join(targets), "traffic back to the old version"))
    steps.append(Step("files", shlex.join(["put_files_back", *_files(config, version)]), "its files back"))
    if targets:
        steps.append(Step("routes", proxy.activate_fragment(config, facts.version), "routes back"))
    removal: list[str] = []
    for role in roles:
        name = config.container_name(role, version)
        quoted = shlex.quote(name)
        known = before.get(name)
        spare = ""
        if role.proxy is not None:
            spare = shlex.join(["spare", config.container_prefix(role), name]) + "\n"
        if known is not None:
            # The name stood for another container before, or for this one, untouched or revived.
            stop = (
                "" if known.running else f"else {spare}docker stop --time {STOP_GRACE} {quoted} >/dev/null\n"
            )
            removal.append(
                f'if [ "$(container_id {quoted})" != {known.id} ]; then\n'
                f"    {spare}docker rm --force {quoted} 2>/dev/null || true\n"
                f"    put_back {quoted}\n{stop}fi"
            )
        else:
            if role.proxy is not None:
                removal.append(
                    f'{spare}if address=$(address_of {quoted} 2>/dev/null) && [ -n "$address" ]; then\n'
                    f'    drain {round(config.drain_timeout)} "$address"\nfi'
                )
            removal.append(f"docker stop --time {STOP_GRACE} {quoted} >/dev/null 2>&1 || true")
            removal.append(f"docker rm --force {quoted} 2>/dev/null || true")
    if removal:
        steps.append(Step("remove", "\n".join(removal), f"remove {version}"))
    if version not in {container.version for container in facts.containers}:
        steps.append(Step("forget", _forget(config, version), "forget its files"))
    history = f"{layout.app(config.name)}/history"
    steps.append(
        Step(
            "history",
            f"if [ -e {history} ]; then head -n {len(facts.history)} {history} >{history}.new && "
            f"mv -f {history}.new {history}; fi",
            "history",
        )
    )
    steps.append(audit_step(config, audit))
    return guarded(config, steps, keep_going=True)
