"""`--dry-run`: what a deploy would do here and on each host, and the very commands. Nothing is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.cli.session import Session
from deployer.cli.status import differences
from deployer.commands import balance, certificates, finishing, phases
from deployer.commands.facts import HostFacts
from deployer.commands.registry import access, pull_script
from deployer.config import DeployConfig
from deployer.kept import leftovers
from deployer.preview import Preview, preview
from deployer.rollout import Rollout
from deployer.script import Script
from deployer.shipping import Shipping
from deployer.transfer import FACTS
from freehold.command import Context
from freehold.secret import Secret, redact

BEFORE = ("pre-connect", "pre-build", "pre-deploy", "pre-app-boot")
AFTER = ("post-app-boot", "post-deploy")


def show_deploy(
    context: Context, session: Session, version: str, shipping: Shipping, *, skip_push: bool = False
) -> None:
    """Look at the hosts and print the plan; `shipping` is the way of the image."""
    config, console = session.config, context.console
    question = "" if skip_push else FACTS
    with session.fleet() as fleet:
        rollout = Rollout(config, fleet, console, version, session.who(), images_question=question)
        facts = rollout.look()
        changes = [change for found in differences(session, fleet).all().values() for change in found]
    running = {host: known for host, known in facts.items() if host in config.hosts}
    quiet = dataclasses.replace(config, secrets=lambda name: Secret(f"[secret {name}]"))
    shown = Preview() if skip_push else preview(dataclasses.replace(shipping, config=quiet), running)
    hidden = _secrets(session, shipping)
    way = "registry" if shipping.registry else "there" if skip_push else "ssh"
    around: dict[str, Any] = {
        "hooks": [name for name in (*BEFORE, *AFTER) if _runs(session, name, skip_push)],
        "build": [redact(line, hidden) for line in shown.build],
        "push": [redact(line, hidden) for line in shown.push],
        "problem": redact(shown.problem, hidden),
    }
    plan: list[dict[str, Any]] = []
    for host, known in facts.items():
        roles = config.routed_on(host)
        left = leftovers(config, known, version, revived=False)
        admitted = balance.admissible(rollout.ways, host)
        scripts = _scripts(session, quiet, shipping, version, known, left, admitted)
        secured = [role.proxy for role in roles if role.proxy and host in role.secured]
        waits = [name for own in secured for name in own.automatic]
        plan.append(
            {
                "host": host,
                "from": ", ".join(dict.fromkeys(filter(None, (known.serving(role.name) for role in roles)))),
                "to": version,
                # One that only balances needs none.
                "image": shipping.image if host in running else "",
                "way": way,
                **around,
                "start": [config.container_name(role, version) for role in config.roles_on(host)],
                "stop": [container.name for container in left.stop],
                "remove": list(left.remove),
                "change": [f"{c.sign} {c.role}: {c.what}" for c in changes if c.host == host],
                "certificates": list(dict.fromkeys(waits)),
                "scripts": {name: redact(_text(script), hidden) for name, script in scripts.items()},
            }
        )
    if console.json:
        console.data(plan)
        return
    _show_around(context, session, around, way)
    for entry in plan:
        console.print(f"{entry['host']}: {entry['from'] or 'nothing'} → {entry['to']}")
        if entry["image"]:
            console.print(f"  {VERBS[way]:<7} {entry['image']}")
        for verb in ("start", "stop", "remove", "change"):
            for name in entry[verb]:
                console.print(f"  {verb:<7} {name}")
        for name in entry["certificates"]:
            console.print(f"  wait    for a certificate for {name}, up to {certificates.PATIENCE} s")
        for name, text in entry["scripts"].items():
            console.print(f"  {name}:")
            for line in text.splitlines():
                console.print(f"    {line}")


VERBS = {"registry": "pull", "ssh": "receive", "there": "have"}


def _secrets(session: Session, shipping: Shipping) -> set[Secret]:
    """What must not be printed, whatever it stands in."""
    config = session.config
    found = {
        secret
        for role in config.roles
        for host in role.hosts
        for secret in config.env_for(role, host)[1].values()
    }
    return found | ({shipping.login.password} if shipping.login else set())


def _runs(session: Session, name: str, skip_push: bool) -> bool:
    return session.hooks.there(name) and not (skip_push and name == "pre-build")


def _scripts(
    session: Session,
    quiet: DeployConfig,
    shipping: Shipping,
    version: str,
    known: HostFacts,
    left: finishing.Leftovers,
    admitted: Sequence[str],
) -> dict[str, Script]:
    """What a host would run, in its order. `quiet` is the configuration without secrets."""
    host, image = known.host, shipping.image
    roles, routed = quiet.roles_on(host), quiet.routed_on(host)
    found: dict[str, Script] = {}
    if roles and shipping.registry:
        found["pull"] = pull_script(quiet, image, access(quiet))
    if roles and session.hooks.there("pre-deploy"):
        found["environment"] = phases.environment(quiet, host, roles, version, image)
    found["prepare"] = phases.prepare(quiet, host, roles, version, image, admitted)
    found["commit"] = phases.commit(quiet, roles, version, [role for role in routed if role not in roles])
    audit = f"{session.who()} deployed {version}"
    more = finishing.further(quiet, known, version)
    found["finish"] = finishing.finish(
        quiet, left, seen=len(known.history), version=version, audit=audit, more=more
    )
    return found


def _show_around(context: Context, session: Session, around: Mapping[str, Any], way: str) -> None:
    """What happens here, in the order in which it would."""
    console, config = context.console, session.config

    def hook(*names: str) -> None:
        for name in names:
            if name in around["hooks"]:
                console.print(f"  hook    {config.hooks_path}/{name}")

    console.print("here:")
    hook("pre-connect", "pre-build")
    for verb in ("build", "push"):
        for line in around[verb]:
            console.print(f"  {verb:<7} {line}")
    if around["problem"]:
        console.print(f"  build   is not possible here: {around['problem']}")
    if way == "ssh":
        how = "to one, from there to the others: " if config.builder.spread and config.hosts[1:] else "to "
        console.print(f"  send    over SSH {how}{', '.join(config.hosts)}")
    hook("pre-deploy", "pre-app-boot")
    console.print("  switch  each host as below")
    hook(*AFTER)


def _text(script: Script) -> str:
    """The steps as a person would type them, without the words they are written with."""
    return "\n".join(f"# {step.title or step.name}\n{step.shell.strip()}" for step in script.steps)
