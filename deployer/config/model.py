"""The whole configuration after reading: its roles on their hosts, names of containers, environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deployer.config.accessory import Accessory
from deployer.config.backups import BackupSettings
from deployer.config.connection import Ssh, Sshkit
from deployer.config.delivery import Builder, Registry
from deployer.config.env import Env, RootEnv
from deployer.config.jobs import Job
from deployer.config.logs import Logging, Output
from deployer.config.pattern import matching, offer
from deployer.config.role import Role
from deployer.config.servers import Boot
from freehold.errors import ConfigError, UsageError
from freehold.secret import Secret


def no_secrets(name: str) -> Secret:
    """A lookup that knows nothing, for configurations that are made without secrets files."""
    raise ConfigError(f"the secret {name!r} is not defined: there is no secrets file")


def _hostless() -> UsageError:
    return UsageError("no host is left to work on", hint="the roles that were asked for have no hosts")


@dataclass(frozen=True)
class DeployConfig:
    """A service as it is to run. Hosts are named as in the file; `secrets` looks a name up.

    `labels`, `volumes`, `env` and `logging` are those of the root; a role's `labels` and `logging`
    already stand on top of them.
    """

    service: str
    image: str
    roles: tuple[Role, ...]
    destination: str | None = None
    file: str = "config/deploy.yml"
    primary_role_name: str = "web"
    env: RootEnv = field(default_factory=RootEnv)
    ssh: Ssh = field(default_factory=Ssh)
    sshkit: Sshkit = field(default_factory=Sshkit)
    registry: Registry | None = None
    builder: Builder = field(default_factory=Builder)
    boot: Boot = field(default_factory=Boot)
    accessories: tuple[Accessory, ...] = ()
    logging: Logging = field(default_factory=Logging)
    output: Output = field(default_factory=Output)
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    jobs: tuple[Job, ...] = ()
    backups: Mapping[str, BackupSettings] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    asset_path: str | None = None
    error_pages_path: str | None = None
    error_pages: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What `error_pages_path` holds, by file name: `503.html`."""
    deploy_timeout: float = 30.0
    drain_timeout: float = 30.0
    readiness_delay: float = 7.0
    stop_timeout: float | None = None
    retain_containers: int = 5
    sharing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Hosts that get certificates for one name by themselves, where they are several; of the whole file."""
    hooks_path: str = ".freehold/hooks"
    hooks_output: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Roles that are in the file and were not selected: nothing of theirs may change."""
    secrets: Callable[[str], Secret] = field(default=no_secrets, repr=False, compare=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The environment as the templates of the files left it: `Dotenv.load` adds to it."""

    @property
    def name(self) -> str:
        """The service and its destination: `app` or `app-staging`."""
        return f"{self.service}-{self.destination}" if self.destination else self.service

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host of a role, in the order of the file, the primary first."""
        return tuple(
            dict.fromkeys([self.primary_host, *(host for role in self.roles for host in role.hosts)])
        )

    @property
    def all_hosts(self) -> tuple[str, ...]:
        """Every host of a role or an accessory, and those that balance."""
        accessories = (host for item in self.accessories for host in item.hosts)
        return tuple(dict.fromkeys([*self.routed_hosts, *accessories]))

    @property
    def balancers(self) -> tuple[str, ...]:
        """The hosts that spread the requests of a role."""
        return tuple(dict.fromkeys(host for role in self.roles for host in role.balancers))

    @property
    def routed_hosts(self) -> tuple[str, ...]:
        """The hosts that a deploy changes: those of roles, and those that only balance."""
        own = self.hosts if any(role.hosts for role in self.roles) else ()
        return tuple(dict.fromkeys([*own, *self.balancers]))

    @property
    def primary_role(self) -> Role:
        """The role whose first host leads: `primary_role`, or the first that is selected."""
        if not self.roles:
            raise ConfigError(f"{self.file} names no servers", hint="write the hosts under 'servers'")
        return next((role for role in self.roles if role.name == self.primary_role_name), self.roles[0])

    @property
    def primary_host(self) -> str:
        """The first host of the primary role; locks live there. UsageError: no role has a host."""
        for role in (self.primary_role, *self.roles):
            if role.hosts:
                return role.hosts[0]
        raise _hostless()

    @property
    def lock_host(self) -> str:
        """Where the lock is: the primary host, or the first of an accessory where no role has one."""
        accessories = (host for item in self.accessories for host in item.hosts)
        first = None if any(role.hosts for role in self.roles) else next(accessories, None)
        return first or self.primary_host

    def role(self, name: str) -> Role:
        """The role of that name; UsageError where there is none."""
        found = next((role for role in self.roles if role.name == name), None)
        if found is None:
            raise UsageError(
                f"there is no role {name!r}", hint=offer(name, [role.name for role in self.roles])
            )
        return found

    def accessory(self, name: str) -> Accessory:
        """The accessory of that name; UsageError where there is none."""
        found = next((item for item in self.accessories if item.name == name), None)
        if found is None:
            raise UsageError(
                f"there is no accessory {name!r}", hint=offer(name, [item.name for item in self.accessories])
            )
        return found

    def job(self, name: str) -> Job:
        """The job of that name; UsageError where there is none."""
        found = next((item for item in self.jobs if item.name == name), None)
        if found is None:
            raise UsageError(f"there is no job {name!r}", hint=offer(name, [item.name for item in self.jobs]))
        return found

    def roles_on(self, host: str) -> tuple[Role, ...]:
        """The roles that run on a host."""
        return tuple(role for role in self.roles if host in role.hosts)

    def balanced_on(self, host: str) -> tuple[Role, ...]:
        """The roles whose requests a host spreads."""
        return tuple(role for role in self.roles if host in role.balancers)

    def routed_on(self, host: str) -> tuple[Role, ...]:
        """The roles that run on a host or that it balances: those that it has something of."""
        return tuple(role for role in self.roles if host in (*role.hosts, *role.balancers))

    def accessories_on(self, host: str) -> tuple[Accessory, ...]:
        """The accessories that run on a host."""
        return tuple(item for item in self.accessories if host in item.hosts)

    def container_prefix(self, role: Role) -> str:
        """`app-web` or `app-web-staging`: containers are named so, followed by the version."""
        return self.prefix_of(role.name)

    def prefix_of(self, role: str) -> str:
        """`container_prefix` of a role of this name, which may be left out of this configuration."""
        return "-".join(part for part in (self.service, role, self.destination) if part)

    def container_name(self, role: Role, version: str) -> str:
        """The name of the container of a role at a version."""
        return f"{self.container_prefix(role)}-{version}"

    def container_labels(self, role: Role) -> dict[str, str]:
        """The labels of a role's containers: service, role, destination, and those of the file."""
        own = {"service": self.service, "role": role.name, "destination": self.destination or ""}
        return {**own, **role.labels}

    @property
    def repository(self) -> str:
        """The image without its tag: `[server/]image`. Kamal's local registry is not needed, so not named."""
        server = self.registry.server if self.registry and not self.registry.local else None
        return f"{server}/{self.image}" if server else self.image

    def image_name(self, version: str) -> str:
        """The image of a version: `[server/]image:version`."""
        return f"{self.repository}:{version}"

    def env_of(self, role: Role, host: str | None = None) -> Env:
        """The environment of a role's containers, with the variables of a host's tags where one is given."""
        env: Env = Env(self.env.clear, self.env.secret).merged(role.env)
        for tag in role.tags.get(host, ()) if host else ():
            env = env.merged(self.env.tags.get(tag, Env()))
        return env

    def env_for(self, role: Role, host: str | None = None) -> tuple[dict[str, str], dict[str, Secret]]:
        """Clear values and secrets of a role's containers; ConfigError where a secret is not defined."""
        env = self.env_of(role, host)
        return dict(env.clear), self._reveal(env, f"servers.{role.name}")

    def accessory_env(self, accessory: Accessory) -> tuple[dict[str, str], dict[str, Secret]]:
        """Clear values and secrets of an accessory."""
        return dict(accessory.env.clear), self._reveal(accessory.env, f"accessories.{accessory.name}")

    def _reveal(self, env: Env, wanted_by: str) -> dict[str, Secret]:
        found: dict[str, Secret] = {}
        for name, source in env.secret_sources().items():
            found[name] = self.secret(source, wanted_by=f"{self.file} {wanted_by}.env.secret")
        return found

    def secret(self, name: str, *, wanted_by: str = "") -> Secret:
        """A secret by name; the error says which key asks for it."""
        from deployer.secrets.store import Secrets

        if isinstance(self.secrets, Secrets):
            return self.secrets(name, wanted_by=wanted_by)
        return self.secrets(name)

    def select(
        self, hosts: Sequence[str] = (), roles: Sequence[str] = (), primary: bool = False
    ) -> DeployConfig:
        """Only the hosts and roles that match the patterns (`web-*`, `{a,b}`); UsageError where none does.

        Accessories keep the hosts that match too; where roles are asked for, those that the roles run on.
        """
        chosen = self.roles
        if roles:
            names = matching(roles, [role.name for role in self.roles])
            if not names:
                raise UsageError(
                    f"no role matches {', '.join(roles)}", hint=offer(roles[0], [r.name for r in self.roles])
                )
            chosen = tuple(role for role in chosen if role.name in names)
        left_out = {*self.left_out, *(role.name for role in self.roles if role not in chosen)}
        accessories = self.accessories
        patterns = (dataclasses.replace(self, roles=chosen).primary_host,) if primary else tuple(hosts)
        if roles or patterns:
            reach = dataclasses.replace(
                self, roles=chosen, accessories=() if roles else accessories
            ).all_hosts
            kept = set(patterns if primary else matching(patterns, reach) if patterns else reach)
            chosen = tuple(
                dataclasses.replace(
                    role,
                    hosts=tuple(host for host in role.hosts if host in kept),
                    balancers=tuple(host for host in role.balancers if host in kept),
                )
                for role in chosen
            )
            chosen = tuple(role for role in chosen if role.hosts or role.balancers)
            accessories = tuple(
                dataclasses.replace(item, hosts=tuple(host for host in item.hosts if host in kept))
                for item in accessories
            )
            accessories = tuple(item for item in accessories if item.hosts)
            if not chosen and not accessories:
                if not patterns:
                    raise _hostless()
                of_roles = f" of {', '.join(roles)}" if roles else ""
                raise UsageError(
                    f"no host{of_roles} matches {', '.join(patterns)}",
                    hint=offer(patterns[0], list(reach)),
                )
        return dataclasses.replace(
            self, roles=chosen, accessories=accessories, left_out=tuple(sorted(left_out))
        )
