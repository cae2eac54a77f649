"""`freehold`: the root of the command line. Commands are imported when they are called for."""

from __future__ import annotations

import gc
import sys

import click

from deployer.cli.aliases import AliasGroup
from freehold import __version__
from freehold.command import Context, common_options, run

COMMANDS = {
    "init": ("deployer.cli.init:init", "Begin a project: config/deploy.yml, config/host.yml, secrets."),
    "setup": ("deployer.cli.setup:setup", "Prepare the hosts where needed, then deploy."),
    "deploy": ("deployer.cli.deploy:deploy", "Build the application and bring it to the hosts."),
    "redeploy": ("deployer.cli.deploy:redeploy", "As `deploy`; Kamal's name."),
    "rollback": ("deployer.cli.deploy:rollback", "Go back to the version before, or to a given one."),
    "config": ("deployer.cli.init:config", "Show what the configuration comes to."),
    "details": ("deployer.cli.look:details", "Show what runs on every host."),
    "status": ("deployer.cli.status:status", "Show hosts and containers: load, health, versions."),
    "top": ("deployer.cli.status:top", "Show hosts and containers live."),
    "diff": ("deployer.cli.status:diff", "Show what a deploy would change besides the code."),
    "app": ("deployer.cli.app:app", "Look into the application's containers and handle them."),
    "canary": ("deployer.cli.canary:canary", "Try a version on a share of the visitors."),
    "proxy": ("deployer.cli.proxy:proxy", "The proxy of the hosts."),
    "accessory": (
        "deployer.cli.accessory:accessory",
        "Run databases and other services beside the application.",
    ),
    "prune": ("deployer.cli.prune:prune", "Remove what neither runs nor is needed for a rollback."),
    "remove": ("deployer.cli.appremove:remove_all", "Remove the service and its accessories from the hosts."),
    "upgrade": ("deployer.cli.upgrade:upgrade", "Take hosts over from Kamal."),
    "jobs": ("deployer.cli.jobs:jobs", "Scheduled jobs: list, run, logs."),
    "backup": ("deployer.cli.backup:backup", "Back up accessories and restore them."),
    "audit": ("deployer.cli.look:audit", "Show who did what."),
    "lock": ("deployer.cli.look:lock", "The lock on deploys."),
    "build": ("deployer.cli.build:build", "Build the image; bring it to the registry or the hosts."),
    "registry": ("deployer.cli.registry:registry", "Log in to the registry and out."),
    "server": ("deployer.cli.server:server", "Prepare and check hosts."),
    "image": ("deployer.cli.groups:image", "Seeds, disk images, base images."),
    "lab": ("deployer.cli.groups:lab", "Virtual machines that mirror production."),
    "secrets": ("deployer.secrets.cli:secrets", "Fetch and show secrets."),
    "docs": ("deployer.cli.init:docs", "Explain the keys of the files in config/."),
    "version": ("deployer.cli.groups:version", "Show the version of Freehold."),
    "completion": ("deployer.cli.completion:completion", "Print the completion script for a shell."),
}


# As in Kamal, --skip_push is --skip-push.
SETTINGS = {"help_option_names": ["--help"], "token_normalize_func": lambda text: text.replace("_", "-")}


@click.group(cls=AliasGroup, lazy=COMMANDS, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="freehold", message="%(prog)s %(version)s")
@common_options
def cli() -> None:
    """Own your infrastructure: provision hosts, rehearse in a lab of VMs, deploy with zero downtime."""


def main() -> int:
    """The console script: run, and return the exit code."""
    try:
        return run(cli, sys.argv[1:], Context())
    finally:
        # All of it ends with the process; looking through it once more for what is unused takes 40 ms.
        gc.freeze()
