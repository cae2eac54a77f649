"""`--dry-run`: what a deploy would do on each host, and the very scripts. Nothing is changed."""

from __future__ import annotations

import dataclasses

from deployer.cli.session import Session
from deployer.cli.status import differences
from deployer.commands import phases
from deployer.commands.jobs import install_step
from deployer.commands.registry import access, pull_script
from deployer.kept import leftovers
from deployer.rollout import Rollout
from deployer.script import Script
from deployer.shipping import Shipping
from freehold.command import Context
from freehold.secret import Secret, redact


def show_deploy(context: Context, session: Session, version: str, shipping: Shipping) -> None:
    """Look at the hosts and print the plan; `shipping` is the way of the image."""
    config, console = session.config, context.console
    with session.fleet() as fleet:
        facts = Rollout(config, fleet, console, version, session.who()).look()
        changes = [change for found in differences(session, fleet).all().values() for change in found]
    image = config.image_name(version)
    quiet = dataclasses.replace(config, secrets=lambda name: Secret(f"[secret {name}]"))
    secrets = {
        secret
        for role in config.roles
        for host in role.hosts
        for secret in config.env_for(role, host)[1].values()
    }
    pulled: dict[str, Script] = {}
    if shipping.registry:
        pulled["pull"] = pull_script(config, image, access(quiet))
        secrets |= {shipping.login.password} if shipping.login else set()
    plan = []
    for host, known in facts.items():
        roles = config.roles_on(host)
        left = leftovers(config, known, version, revived=False)
        scripts = {
            **pulled,
            "prepare": phases.prepare(quiet, host, roles, version, image),
            "commit": phases.commit(quiet, roles, version),
            "finish": phases.finish(
                quiet,
                left,
                seen=len(known.history),
                version=version,
                audit=f"{session.who()} deployed {version}",
                more=[install_step(config, version)],
            ),
        }
        plan.append(
            {
                "host": host,
                "from": ", ".join(dict.fromkeys(filter(None, (known.serving(role.name) for role in roles)))),
                "to": version,
                "image": image,
                "way": "registry" if shipping.registry else "ssh",
                "start": [config.container_name(role, version) for role in roles],
                "stop": [container.name for container in left.stop],
                "remove": list(left.remove),
                "change": [f"{c.sign} {c.role}: {c.what}" for c in changes if c.host == host],
                "scripts": {name: redact(_text(script), secrets) for name, script in scripts.items()},
            }
        )
    if console.json:
        console.data(plan)
        return
    for entry in plan:
        console.print(f"{entry['host']}: {entry['from'] or 'nothing'} → {entry['to']}")
        console.print(f"  {'pull' if shipping.registry else 'receive':<7} {entry['image']}")
        for verb in ("start", "stop", "remove", "change"):
            for name in entry[verb] or ():
                console.print(f"  {verb:<7} {name}")
        for name, text in entry["scripts"].items():  # type: ignore[union-attr]
            console.print(f"  {name}:")
            for line in text.splitlines():
                console.print(f"    {line}")


def _text(script: Script) -> str:
    """The steps as a person would type them, without the words they are written with."""
    return "\n".join(f"# {step.title or step.name}\n{step.shell.strip()}" for step in script.steps)
