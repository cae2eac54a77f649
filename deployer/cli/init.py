"""`freehold init` and `freehold config`: begin a project; show what a configuration comes to."""

from __future__ import annotations

import re
from pathlib import Path

import click

from deployer.cli.options import Target, hostless, reading
from freehold.command import Context, common_options, pass_context

DEPLOY = """\
# What to run, and where. `freehold lab up` makes a machine for each host named here.
service: {name}

image: {name}

servers:
  web:
    - 192.0.2.10        # the address or name of your server

proxy:
  app_port: 3000        # what the application listens on in its container
  # host: app.example.com
  # ssl: true           # a certificate by itself; needs `host` and a name that leads here
  healthcheck:
    path: /up

ssh:
  # The user that config/host.yml makes; SSH_USER=root for the first `freehold server bootstrap`.
  user: {{{{ env.SSH_USER | default("deploy") }}}}

env:
  clear:
    LOG_LEVEL: info
  # secret:
  #   - SECRET_KEY      # from .freehold/secrets
"""
HOST = """\
# What a prepared host is. Every key has a default; `freehold server bootstrap` brings a server to it,
# `freehold image build` bakes it into an image, `freehold server check` proves it.
users:
  - name: deploy
    sudo: true
    # keys:
    #   - gh:your-name  # the public keys of a GitHub account; yours of this computer by default
"""
SECRETS_FILE = Path(".freehold/secrets")
SECRETS = """\
# Values for `env: secret:`. This file is kept out of git; better than values are commands:
# SECRET_KEY=$(pass show {name}/secret-key)
# RAILS_MASTER_KEY=$(cat config/master.key)
"""


def service_name(directory: Path) -> str:
    """A service's name out of a directory's."""
    return re.sub(r"[^a-z0-9-]+", "-", directory.name.lower()).strip("-") or "app"


@click.command()
@hostless
@click.option("--bundle", is_flag=True, hidden=True, help="Kamal's; Freehold is no gem.")
@common_options
@pass_context
def init(context: Context, bundle: bool) -> None:
    """Write config/deploy.yml, config/host.yml and .freehold/secrets; what exists is left alone.

    A project of Kamal's keeps its secrets in .kamal/secrets.
    """
    from freehold.files import write_atomic

    if bundle:
        context.console.warn("--bundle: Freehold is no gem; the Gemfile and bin/ are left alone")

    name = service_name(context.root)
    made = []
    for path, text, mode in (
        (Path("config/deploy.yml"), DEPLOY, 0o644),
        (Path("config/host.yml"), HOST, 0o644),
        (SECRETS_FILE, SECRETS, 0o600),
    ):
        if (context.root / path).exists():
            context.console.info(f"  {path} is there already")
            continue
        if path == SECRETS_FILE and any((context.root / ".kamal").glob("secrets*")):
            # With a file of ours Kamal's would no longer be read.
            context.console.info("  .kamal/secrets holds the secrets")
            continue
        write_atomic(context.root / path, text.format(name=name) if "{name}" in text else text, mode)
        made.append(str(path))
        context.console.info(f"  wrote {path}")
    ignore = context.root / ".gitignore"
    lines = ignore.read_text().splitlines() if ignore.exists() else []
    if ".freehold/secrets*" not in lines:
        write_atomic(ignore, "\n".join([*lines, ".freehold/secrets*", ""]))
        made.append(".gitignore")
        context.console.info("  .gitignore keeps .freehold/secrets* out of git")
    if context.console.json:
        context.console.data({"made": made})
    else:
        context.console.success("next: edit config/deploy.yml, then `freehold lab up` or `freehold setup`")


@click.command()
@reading
def config(context: Context, target: Target) -> None:
    """Show what the configuration comes to, under Kamal's names. Secrets by name only."""
    from deployer.cli.deploy import code_version_of
    from deployer.cli.session import open_session
    from deployer.config.described import described
    from freehold import yamlfile
    from freehold.errors import FreeholdError

    session = open_session(context, target, accessories=True)
    try:
        version = code_version_of(context, session, quiet=True)
    except FreeholdError:
        # Nothing is committed yet, or there is no git: the rest is there to be looked at.
        version = None
    found = described(session.config, version)
    if context.console.json:
        context.console.data(found)
    else:
        context.console.print(yamlfile.dump(found).rstrip())


@click.command()
@hostless
@click.argument("section", default="configuration")
@click.option("--schema", is_flag=True, help="Print the JSON schema of a file, for editors.")
@common_options
@pass_context
def docs(context: Context, section: str, schema: bool) -> None:
    """Explain the keys of a SECTION of config/deploy.yml (proxy, env, ssh, …).

    `host` and `lab` are config/host.yml and config/lab.yml. With --schema the SECTION is one of these, or
    `destination` for config/deploy.DESTINATION.yml.
    """
    import dataclasses
    import textwrap

    from deployer.config import reference

    if schema:
        context.console.data(reference.schema(section))
        return
    rows = reference.section(section)
    if context.console.json:
        context.console.data([dataclasses.asdict(row) for row in rows])
        return
    for row in rows:
        note = "required" if row.required else f"default {row.default}" if row.default else "optional"
        context.console.print(f"{row.path}  ({row.type}, {note})")
        context.console.print(textwrap.indent(textwrap.fill(row.help, 100), "    "))
    if section == "configuration":
        names = ", ".join(name for name in reference.NAMES if name != section)
        context.console.print(f"\nSections: {names}")
