"""What a command works with: the configuration as asked for, the hosts' endpoints, who is asking."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.cli.options import Target
from deployer.config import DeployConfig, load_config
from deployer.endpoint import Endpoint, endpoints
from deployer.hooks import Hooks, strangers
from deployer.secrets import Secrets
from freehold.command import RESULT, Context
from freehold.environment import user_name
from freehold.errors import UsageError
from freehold.process import LocalRunner

if TYPE_CHECKING:
    from deployer.fleet import Fleet


@dataclass(frozen=True)
class Session:
    """`config` is narrowed to the hosts and roles asked for; `whole` is the file's."""

    context: Context
    target: Target
    whole: DeployConfig
    config: DeployConfig
    hooks: Hooks

    @property
    def root(self) -> Path:
        return self.context.root

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that are worked on: those of accessories too."""
        return self.config.all_hosts

    def fleet(self, *, ahead: bool = False, question: bool = False) -> Fleet:
        """Connections to the hosts asked for, and to the one where the lock is; each on first use, or now.

        The hook pre-connect runs before the first of them.
        """
        hosts = (self.whole.lock_host, *self.config.all_hosts)
        return self.fleet_of(hosts, ahead=ahead, question=question)

    def fleet_of(self, hosts: Iterable[str], *, ahead: bool = False, question: bool = False) -> Fleet:
        """Connections to just these hosts; with `ahead` they are begun, as each of them will be needed.

        `question`: their first script is an open one (`Script.open`).
        """
        from deployer.headstart import begin

        self.hooks.pre_connect()
        known = self.endpoints()
        ends = {name: known[name] for name in dict.fromkeys(hosts)}
        started = begin(ends, self.whole.sshkit.max_concurrent_starts) if ahead else {}
        # SSH is as much to load as all else together, and not every command needs it.
        from deployer.connect import log_protocol
        from deployer.fleet import Fleet

        for name in () if self.target.lab else self.whole.ssh.keys:
            if not Path(name).expanduser().is_file():
                self.context.console.warn(f"{self.whole.file} ssh.keys: there is no file {name}")
        log_protocol(self.whole.ssh.log_level, self.context.console.info)
        fleet = Fleet(ends, self.context.console, self.whole.sshkit, started)
        if ahead:
            fleet.connect_ahead(question=question)
        return fleet

    def endpoints(self) -> dict[str, Endpoint]:
        """How each host of the file is reached: as it says, or as the lab's machine of that name."""
        if not self.target.lab:
            return endpoints(self.whole)
        from deployer.rehearsal import lab_endpoints

        return lab_endpoints(self.whole, self.root, self.context.runner)

    def who(self) -> str:
        """Who is asking, for locks and audit lines."""
        return f"{user_name(self.context.environ)}@{socket.gethostname()}"

    def now(self) -> str:
        """The time in UTC, to the second."""
        return utc_now()


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
    if target.lab:
        from deployer.rehearsal import bound, everywhere

        if addresses := ", ".join(bound(whole)):
            context.console.info(
                f"the lab's proxies listen everywhere, not on {addresses} (proxy.run.bind_ips)"
            )
        whole = everywhere(whole)
    # What the file's template sets (`Dotenv.load`) hooks, builds and accessories' templates see, too.
    context.environ = whole.environ
    if isinstance(whole.secrets, Secrets):
        whole.secrets.listen(context.console.warn)
    for name in hidden(whole.aliases, COMMANDS):
        context.console.warn(f"{whole.file} aliases.{name}: `freehold {name}` is a command; rename the alias")
    for warning in whole.warnings:
        context.console.warn(warning)
    _warn_of_what_is_not_done(context, whole)
    config = whole.select(hosts=target.hosts, roles=target.roles, primary=target.primary)
    if not (config.all_hosts if accessories else config.roles and config.hosts):
        raise UsageError("no host is left to work on")
    session = Session(context, target, whole, config, _hooks(context, target, config))
    _record(session)
    return session


def _record(session: Session) -> None:
    """Record what the command says, where `output` asks for it, until the command ends."""
    import click

    from deployer.output import Run, changes, recorded

    config, hooks = session.whole, session.hooks
    current = click.get_current_context(silent=True)
    words = _command_words()
    wanted = config.output.file or config.output.otel
    if current is None or not wanted or not changes(words) or current.params.get("dry_run"):
        return
    run = Run(words, hooks.tags(), config.destination, config.service)
    store = config.secrets
    current.with_resource(
        recorded(
            config.output,
            run,
            root=session.root,
            console=session.context.console,
            secrets=lambda: store.evaluated if isinstance(store, Secrets) else (),
            result=lambda: current.meta.get(RESULT),
        )
    )


def _hooks(context: Context, target: Target, config: DeployConfig) -> Hooks:
    words = _command_words()
    return Hooks(
        config,
        context.root,
        # A hook sees the whole environment, which is no line to read: hooks tell themselves what runs.
        LocalRunner(),
        context.console,
        context.environ,
        command=words[0] if words else "",
        subcommand=words[1] if len(words) > 1 else None,
        find_version=lambda: config.version or _commit(context),
        now=utc_now,
        roles=[role.name for role in config.roles] if target.roles else (),
        skip=target.skip_hooks,
        lab=target.lab,
    )


def _command_words() -> list[str]:
    """The command that runs: `["app", "logs"]`."""
    import click

    current = click.get_current_context(silent=True)
    return current.command_path.split()[1:] if current is not None else []


def _commit(context: Context) -> str:
    from deployer.images.version import git

    return git(context.root, context.runner, "rev-parse", "HEAD", check=False).stdout.strip()


def utc_now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _warn_of_what_is_not_done(context: Context, config: DeployConfig) -> None:
    """What a file may say, or a folder hold, without an effect: said aloud, never passed over."""
    for sentence in strangers(context.root / config.hooks_path):
        context.console.warn(f"{config.hooks_path}: {sentence}")
