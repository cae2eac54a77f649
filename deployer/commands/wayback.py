"""The way back: a host as it was before a deploy, whatever has happened since."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deployer.commands import copies, layout, phases, proxy, streams
from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig, Role
from deployer.script import Script, Step


def undo(
    config: DeployConfig,
    facts: HostFacts,
    roles: Sequence[Role],
    version: str,
    *,
    audit: str,
    committing: bool = False,
) -> Script:
    """Put a host back to what `facts` say, whatever this deploy has done since. May be repeated.

    Traffic first, and what is remembered of it: the old containers still run. Then the new ones are drained,
    stopped and removed, except those that were there before, which are only stopped. `committing`: the
    version may stand in the history by now. Any other difference there is the work of another deploy, and
    everything stays.
    """
    steps = [_ours(config, facts, *([version] if committing else ()))]
    if committing:
        # Whatever cuts this off below: the next deploy settles it.
        steps.append(Step("uncommit", copies.out_of_use(config, version), "it was never committed"))
    targets: list[str] = []
    for role in roles:
        if role.proxy is None:
            continue
        prefix = config.container_prefix(role)
        targets.append(shlex.join(["unsplit", prefix]))
        if prefix in facts.targets:
            targets.append(shlex.join(["write_target", prefix, facts.targets[prefix]]))
            targets.append(proxy.link_fragment(config, role, facts.serving(role.name)))
        else:
            targets.append(shlex.join(["rm", "-f", layout.target(prefix), layout.current(prefix)]))
    fronted = [role for role in config.balanced_on(facts.host) if role not in roles]
    targets += [proxy.link_fragment(config, role, facts.serving(role.name)) for role in fronted]
    if targets:
        steps.append(Step("traffic", "\n".join(targets), "traffic back to the old version"))
    # Whatever cuts this off below: what is remembered is what has the traffic.
    words = ["first_lines", layout.history(config.name), str(len(facts.history))]
    steps.append(Step("history", shlex.join(words), "history"))
    by_version: dict[str | None, list[Role]] = {}
    for role in config.roles:
        serving = facts.serving(role.name)
        if serving is not None or role in roles or role in fronted:
            by_version.setdefault(serving, []).append(role)
    # A deploy that was to bring one of them once more may have been cut off: its files never counted.
    unpublished = [name for name in by_version if name not in (None, version)]
    files, *forgotten = _files_back(config, facts, version, *filter(None, unpublished))
    steps.append(files)
    if targets:
        # Subshells: each holds the proxy's lock until it ends.
        back = [f"({proxy.activate_fragment(config, name, own)})" for name, own in by_version.items()]
        steps.append(Step("routes", "\n".join(back), "routes back"))
    removal = [_removal(config, facts, role, version) for role in roles]
    waits = sum(
        phases.grace(config, role, drained=True) + (config.drain_timeout if role.proxy is not None else 0)
        for role in roles
    )
    if removal:
        steps.append(Step("remove", "\n".join(removal), f"remove {version}", waits))
    steps += forgotten
    steps.append(phases.audit_step(config, audit))
    return phases.guarded(config, steps, keep_going=True)


def _removal(config: DeployConfig, facts: HostFacts, role: Role, version: str) -> str:
    """The containers of a version that `facts` do not know go; the name is whose it was before."""
    name, grace = config.container_name(role, version), phases.grace(config, role, drained=True)
    known = [c for c in facts.of_role(role) if c.version == version]
    ending = f"docker stop --time {grace} $id >/dev/null 2>&1 || true\ndiscard $id"
    spare = ""
    if role.proxy is not None:
        spare = shlex.join(["spare", config.container_prefix(role)])
        ending = (
            f"{spare} $id\n"
            'if address=$(address_of $id 2>/dev/null) && [ -n "$address" ]; then\n'
            f'    drain {round(config.drain_timeout)} "$address"\nfi\n{ending}'
        )
    lines = [
        f"new=$({shlex.join(['strangers', name, *(c.id for c in known)])})",
        f"for id in $new; do\n{ending}\ndone",
    ]
    before = next((c for c in known if c.name == name), None)
    if before is not None:
        lines.append(shlex.join(["give_name", name, before.id]))
        if not before.running:
            lines += [f"{spare} {shlex.quote(name)}"] if spare else []
            stop = f"docker stop --time {grace} {shlex.quote(name)} >/dev/null"
            lines.append(f'if [ -n "$(named {shlex.quote(name)})" ]; then {stop}; fi')
    lines += streams.again_fragment(config, known)
    return "\n".join(lines)


def forget_environment(config: DeployConfig, facts: HostFacts, version: str) -> Script:
    """What `environment` wrote is gone, and what it found is back. May be repeated."""
    steps = [_ours(config, facts), *_files_back(config, facts, version, started=False)]
    return phases.guarded(config, steps)


def _ours(config: DeployConfig, facts: HostFacts, *since: str) -> Step:
    return phases.ours_step(config, len(facts.history), "", *since)


def _files_back(
    config: DeployConfig, facts: HostFacts, version: str, *others: str, started: bool = True
) -> list[Step]:
    back = copies.back if started else copies.files_back
    steps = [Step("files", back(config, version, *others), "its files back")]
    # A host that only balances has no containers, and keeps what served there.
    alone = not config.roles_on(facts.host) and version in {line.version for line in facts.history}
    if not alone and version not in {container.version for container in facts.containers}:
        names = [config.container_name(role, version) for role in config.roles]
        forget = f"unless_there {shlex.join(names)} -- {phases.forget(config, version)}"
        steps.append(Step("forget", forget, "forget its files"))
    return steps
