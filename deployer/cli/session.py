"""What a command works with: the configuration as asked for, the hosts' endpoints, who is asking."""

from __future__ import annotations

import datetime
import getpass
import socket
from dataclasses import dataclass
from pathlib import Path

from deployer.cli.options import Target
from deployer.config import DeployConfig, load_config
from deployer.endpoint import Endpoint, endpoints
from deployer.fleet import Fleet
from freehold.command import Context
from freehold.errors import UsageError


@dataclass(frozen=True)
class Session:
    """`config` is narrowed to the hosts and roles asked for; `whole` is the file's."""

    context: Context
    target: Target
    whole: DeployConfig
    config: DeployConfig

    @property
    def root(self) -> Path:
        return self.context.root

    def fleet(self) -> Fleet:
        """Connections to the hosts asked for, and to the one where the lock is; each is made on first use."""
        names = tuple(dict.fromkeys([self.whole.lock_host, *self.config.all_hosts]))
        return Fleet({name: self.endpoints()[name] for name in names}, self.context.console)

    def endpoints(self) -> dict[str, Endpoint]:
        """How each host of the file is reached: as it says, or as the lab's machine of that name."""
        if not self.target.lab:
            return endpoints(self.whole)
        from deployer.rehearsal import lab_endpoints

        return lab_endpoints(self.whole, self.root)

    def who(self) -> str:
        """Who is asking, for locks and audit lines."""
        return f"{getpass.getuser()}@{socket.gethostname()}"

    def now(self) -> str:
        """The time in UTC, to the second."""
        return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def open_session(context: Context, target: Target, *, accessories: bool = False) -> Session:
    """Read the configuration; show its warnings.

    With `accessories` the hosts of accessories count too: none of the application's need be among them.
    """
    from deployer.cli.aliases import hidden
    from deployer.cli.main import COMMANDS

    whole = load_config(
        context.root,
        config_file=target.config_file,
        destination=target.destination,
        environ=context.environ,
        runner=context.runner,
        version=target.version,
    )
    for name in hidden(whole.aliases, COMMANDS):
        context.console.warn(f"{whole.file} aliases.{name}: `freehold {name}` is a command; rename the alias")
    for warning in whole.warnings:
        context.console.warn(warning)
    _warn_of_what_is_not_done(context, whole)
    config = whole.select(hosts=target.hosts, roles=target.roles, primary=target.primary)
    if not (config.all_hosts if accessories else config.roles and config.hosts):
        raise UsageError("no host is left to work on")
    return Session(context, target, whole, config)


def _warn_of_what_is_not_done(context: Context, config: DeployConfig) -> None:
    """What a file may say, or a folder hold, without an effect: said aloud, never passed over."""
    if config.registry is not None and config.registry.server:
        context.console.warn(
            f"{config.file}: the registry {config.registry.server} is not used; images travel over SSH"
        )
    for folder in (".freehold/hooks", ".kamal/hooks"):
        path = context.root / folder
        names = (
            sorted(p.name for p in path.glob("*") if p.is_file() and p.suffix != ".sample")
            if path.is_dir()
            else []
        )
        if names:
            context.console.warn(f"hooks are not run yet: {folder} holds {', '.join(names)}")
