"""The way back: a host as it was before a deploy, whatever has happened since."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from deployer.commands import layout, phases, proxy
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
    before = {container.name: container for container in facts.containers}
    steps = [_ours(config, facts, *([version] if committing else ()))]
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
    if targets:
        steps.append(Step("traffic", "\n".join(targets), "traffic back to the old version"))
    # Whatever cuts this off below: what is remembered is what has the traffic.
    words = ["first_lines", layout.history(config.name), str(len(facts.history))]
    steps.append(Step("history", shlex.join(words), "history"))
    by_version: dict[str | None, list[Role]] = {}
    for role in config.roles:
        serving = facts.serving(role.name)
        if serving is not None or role in roles:
            by_version.setdefault(serving, []).append(role)
    # A deploy that was to bring one of them once more may have been cut off: its files never counted.
    unpublished = [name for name in by_version if name not in (None, version)]
    files, *forgotten = _files_back(config, facts, version, *filter(None, unpublished), committing=committing)
    steps.append(files)
    if targets:
        # Subshells: each holds the proxy's lock until it ends.
        back = [f"({proxy.activate_fragment(config, name, own)})" for name, own in by_version.items()]
        steps.append(Step("routes", "\n".join(back), "routes back"))
    removal: list[str] = []
    waits = 0.0
    for role in roles:
        grace = phases.grace(config, role, drained=True)
        waits += grace + (config.drain_timeout if role.proxy is not None else 0)
        name = config.container_name(role, version)
        quoted = shlex.quote(name)
        known = before.get(name)
        spare = ending = ""
        if role.proxy is not None:
            spare = shlex.join(["spare", config.container_prefix(role), name]) + "\n"
            ending = (
                f'{spare}if address=$(address_of {quoted} 2>/dev/null) && [ -n "$address" ]; then\n'
                f'    drain {round(config.drain_timeout)} "$address"\nfi\n'
            )
        ending += f"docker stop --time {grace} {quoted} >/dev/null 2>&1 || true\n"
        ending += f"docker rm --force {quoted} 2>/dev/null || true"
        if known is not None:
            # The name stood for another container before, or for this one, untouched or revived.
            stop = "" if known.running else f"else {spare}docker stop --time {grace} {quoted} >/dev/null\n"
            removal.append(
                f'if [ "$(container_id {quoted})" != {known.id} ]; then\n'
                f"{ending}\nput_back {quoted}\n{stop}fi"
            )
        else:
            removal.append(ending)
    if removal:
        steps.append(Step("remove", "\n".join(removal), f"remove {version}", waits))
    steps += forgotten
    steps.append(phases.audit_step(config, audit))
    return phases.guarded(config, steps, keep_going=True)


def forget_environment(config: DeployConfig, facts: HostFacts, version: str) -> Script:
    """What `environment` wrote is gone, and what it found is back. May be repeated."""
    return phases.guarded(config, [_ours(config, facts), *_files_back(config, facts, version)])


def _ours(config: DeployConfig, facts: HostFacts, *since: str) -> Step:
    return phases.ours_step(config, len(facts.history), "", *since)


def _files_back(
    config: DeployConfig, facts: HostFacts, version: str, *others: str, committing: bool = False
) -> list[Step]:
    copies = [phases.files_of(config, name) for name in (version, *others)]
    if committing:
        copies.append(phases.files_of(config, version, committed=True))
    back = "\n".join(shlex.join(["put_files_back", *one]) for one in copies)
    steps = [Step("files", back, "its files back")]
    if version not in {container.version for container in facts.containers}:
        names = [config.container_name(role, version) for role in config.roles]
        forget = f"unless_there {shlex.join(names)} -- {phases.forget(config, version)}"
        steps.append(Step("forget", forget, "forget its files"))
    return steps
