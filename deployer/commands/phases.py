"""The scripts of a deploy: prepare, commit, finish, and the way back. One per host and phase."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployer.commands import (
    assets,
    balance,
    certificates,
    copies,
    docker,
    jobs,
    layout,
    pages,
    proxy,
    streams,
)
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step, heredoc

STOP_GRACE = 10


def grace(config: DeployConfig, role: Role, *, drained: bool) -> int:
    """Seconds between the stop signal and the end: `stop_timeout`, the option of that name, or what requests
    and jobs may take.

    A proxied container whose requests have ended (`drained`) has nothing to wait for any more.
    """
    if role.stop_timeout is not None:
        return round(role.stop_timeout)
    own = str(role.options.get("stop-timeout", ""))
    if own.isdecimal():
        return int(own)
    return STOP_GRACE if drained and role.proxy is not None else round(config.drain_timeout)


def guarded(config: DeployConfig, steps: Sequence[Step], *, keep_going: bool = False) -> Script:
    """A script that changes a service on a host: one at a time, with the words of `data/host/`."""
    guard, library = layout.guard(config.name), layout.library()
    return Script(tuple(steps), guard=guard, library=library, keep_going=keep_going)


OVERTAKEN = "another deploy has been here since"


def ours_step(config: DeployConfig, seen: int, *since: str) -> Step:
    """Ends a script where another deploy has changed the history of `seen` lines.

    `since` is what this one may have added: versions, "" for nothing.
    """
    words = shlex.join(["still_ours", layout.history(config.name), str(seen), *since])
    return Step("ours", words, "nobody else has deployed", gate=True)


def prepare(
    config: DeployConfig,
    host: str,
    roles: Sequence[Role],
    version: str,
    image: str,
    admitted: Sequence[str] = (),
) -> Script:
    """Start the new containers of `roles` and wait until they are ready. No traffic reaches them.

    `admitted` are the addresses from which hosts in front come; without roles this is one of them.
    """
    steps = [
        Step(
            "store",
            "\n".join(
                [
                    copies.keep(config, roles, version, image),
                    proxy.store_fragment(config, version, proxy.files(config, config.routed_on(host), host)),
                    *(balance.admit_fragment(config, role, version, admitted) for role in roles),
                    *(_manner(config, role, version, host) for role in roles),
                    jobs.store_fragment(config, host, version),
                    pages.store_fragment(config.name, version, config.error_pages),
                ]
            ),
            "keep the version's routes",
        )
    ]
    mine = [role for role in config.routed_on(host) if role in roles or host not in role.hosts]
    pairs = certificates.pairs(config, [role for role in mine if host in role.secured])
    if pairs:
        written = certificates.store_fragment(list(pairs.values()))
        steps.append(Step("certificates", written, "certificates"))
    for role in roles:
        if role.asset_path is not None:
            bridge = assets.fragment(config, role, version, image)
            steps.append(Step(f"assets-{role.name}", bridge, f"assets of {role.name}"))
    steps += _env_steps(config, host, roles, version)
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


def environment(config: DeployConfig, host: str, roles: Sequence[Role], version: str, image: str) -> Script:
    """Write the environment of a version ahead of `prepare`, so that its image can be run by hand."""
    kept = copies.keep(config, None, version, image)
    keep = Step("keep", kept, "keep what is there of this version")
    return guarded(config, [keep, *_env_steps(config, host, roles, version)])


def _env_steps(config: DeployConfig, host: str, roles: Sequence[Role], version: str) -> list[Step]:
    steps = []
    for role in roles:
        clear, secret = config.env_for(role, host)
        env = docker.env_fragment(layout.env_file(config.name, version, role.name), clear, secret)
        # For `diff`, which shows old values of clear variables and never those of secrets.
        names = shlex.quote(layout.names_file(config.name, version, role.name))
        env += f"\ncat >{names} " + heredoc("".join(f"{name}\n" for name in sorted(secret)))
        steps.append(Step(f"env-{role.name}", env, f"environment of {role.name}"))
    return steps


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


def ready_steps(config: DeployConfig, roles: Sequence[Role], version: str) -> list[Step]:
    """Wait for each role's container."""
    # The last probe may begin just before the limit.
    waits = config.deploy_timeout * 1.5 + config.readiness_delay
    return [
        Step(
            f"health-{role.name}",
            docker.health_fragment(config, role, version),
            f"{role.name} is healthy",
            waits,
        )
        for role in roles
    ]


def revive(
    config: DeployConfig,
    roles: Sequence[Role],
    versions: Mapping[str, str],
    *,
    rollback: bool = False,
    admitted: Sequence[str] = (),
) -> Script:
    """Start the kept containers of the roles' versions again: image, configuration, environment as then.

    `rollback`: their routes are to be the proxy's, which another service may have claimed meanwhile.
    """
    names = [config.container_name(role, versions[role.name]) for role in roles]
    told = ", ".join(dict.fromkeys(versions[role.name] for role in roles))
    # Jobs of a version run as this user from now on, and read its environment; its containers have it.
    owned = {
        versions[role.name]: shlex.join(["docker", "inspect", "--format", "{{.Image}}", name])
        for role, name in zip(roles, names, strict=True)
    }
    lines = [
        f'own {shlex.quote(layout.version(config.name, version))} "$({image})" || true'
        for version, image in owned.items()
    ]
    # What was prepared of them and never committed did not serve. A trial of another one may go on where this
    # is no rollback.
    steps = [
        Step("settle", copies.settle(config) if rollback else copies.back(config, *owned), "what served")
    ]
    if rollback:
        claims = "\n".join(proxy.unclaimed_fragment(config, name) for name in owned)
        steps.append(Step("claims", claims, "nobody else has its routes"))
    known = [balance.admit_fragment(config, one, versions[one.name], admitted, kept=True) for one in roles]
    again = streams.serve_again(config, names)
    start = "\n".join([*lines, *filter(None, known), again, shlex.join(["docker", "start", *names])])
    steps.append(Step("start", start, f"start {told} again"))
    for role in roles:
        version = versions[role.name]
        (step,) = ready_steps(config, [role], version)
        probe = shlex.quote(layout.probe_file(config.name, version, role.name))
        shell = f"if [ -e {probe} ]; then . {probe}; else {step.shell}; fi"
        steps.append(replace(step, shell=shell))
    return guarded(config, steps)


def commit(config: DeployConfig, roles: Sequence[Role], version: str, fronted: Sequence[Role] = ()) -> Script:
    """Give the new containers the traffic: targets by rename, routes only where they changed.

    Not where one of them has ended since it was ready, of whichever role. `fronted` run on other hosts, and
    this one is in front of those.
    """
    served = [role for role in roles if role.proxy is not None]
    # The first to be switched is looked at by that: each question to Docker costs as much as all else here.
    names = [config.container_name(role, version) for role in roles if role not in served[:1]]
    check = "\n".join(shlex.join(["must_run", name]) for name in names)
    steps = [Step("running", check, "the new containers run")] if names else []
    steps += [
        Step(f"switch-{role.name}", proxy.switch_fragment(config, role, version), f"traffic to {role.name}")
        for role in served
    ]
    links = [proxy.link_fragment(config, role, version) for role in fronted]
    steps += [Step("front", "\n".join(links), "what the version brings")] if links else []
    switched = bool(served or links)
    # What the containers that have the traffic were started with.
    steps.append(Step("files", copies.in_use(config, version), "its files are in use"))
    if switched:
        steps.append(Step("routes", proxy.activate_fragment(config, version), "routes"))
    what = shlex.quote(f"{version} {','.join(role.name for role in (*roles, *fronted))}")
    line = f"TZ=UTC0 printf '%(%Y-%m-%dT%H:%M:%SZ)T %s\\n' -1 {what}"
    # What is remembered has to be there after a power cut, with the files that belong to it.
    files = shlex.join(["durable", layout.version(config.name, version), layout.PROXY])
    history = layout.history(config.name)
    remember = f"{files}\n{line} >>{history}\nsync {history}\n{shlex.join(['soon_durable', layout.STATE])}"
    return guarded(config, [*steps, Step("history", remember, "remember the version")])


def switched(config: DeployConfig, roles: Sequence[Role], version: str, served: int) -> Script:
    """Succeeds where `commit` came to its end; `served` is the length of the history before it.

    Waits for a commit that still runs, as all scripts of a host do for one another.
    """
    checks = [shlex.join(["still_ours", layout.history(config.name), str(served), version])]
    for role in roles:
        if role.proxy is not None:
            words = shlex.join([config.container_prefix(role), config.container_name(role, version)])
            checks.append(f'serves {words} || {{ echo "failed: the traffic goes elsewhere"; exit 1; }}')
    return guarded(config, [Step("switched", "\n".join(checks), "what was switched")])


def forget(config: DeployConfig, version: str) -> str:
    return shlex.join(["rm", "-rf", *layout.everything(config.name, version)])


def audit_step(config: DeployConfig, line: str) -> Step:
    """One line in the service's audit log on the host."""
    app = layout.app(config.name)
    return Step("audit", f"[ -d {app} ] || mkdir -p {app}\n{_audit(config, line)}", "audit")


def audited(config: DeployConfig, script: Script, line: str) -> Script:
    """The script, with a line in the audit log once it has done something."""
    return replace(script, steps=(*script.steps, audit_step(config, line))) if script else script


def noted(config: DeployConfig, line: str, command: str) -> str:
    """Shell text that runs a command, noted before. One that cannot be noted is run all the same.

    Only where something was deployed: whoever comes first to a new host must not begin its directories.
    """
    app = layout.app(config.name)
    return f"( umask 002; [ ! -d {app} ] || {_audit(config, line)} ) 2>/dev/null\n{command}"


def _audit(config: DeployConfig, line: str) -> str:
    text = shlex.quote(line.replace("\n", "\\n"))
    return f"TZ=UTC0 printf '[%(%Y-%m-%dT%H:%M:%SZ)T] %s\\n' -1 {text} >>{layout.app(config.name)}/audit.log"
