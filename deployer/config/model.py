"""The whole configuration after reading: roles with their hosts, names of containers, environments."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deployer.config.parts import Boot, Builder, Env, Healthcheck, Proxy, Registry, Ssh
from freehold.errors import UsageError
from freehold.secret import Secret
from freehold.settings import near

__all__ = [
    "Boot",
    "Builder",
    "DeployConfig",
    "Env",
    "Healthcheck",
    "Proxy",
    "Registry",
    "Role",
    "Ssh",
]


@dataclass(frozen=True)
class Role:
    """One kind of container of the service and the hosts that run it."""

    name: str
    hosts: tuple[str, ...]
    cmd: str | None = None
    proxy: Proxy | None = None
    env: Env = field(default_factory=Env)
    options: Mapping[str, object] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_timeout: float | None = None


@dataclass(frozen=True)
class DeployConfig:
    """A service as it is to run. Hosts are named as in the file; `secrets` looks a name up."""

    service: str
    image: str
    roles: tuple[Role, ...]
    destination: str | None = None
    file: str = "config/deploy.yml"
    primary_role_name: str = "web"
    env: Env = field(default_factory=Env)
    ssh: Ssh = field(default_factory=Ssh)
    registry: Registry | None = None
    builder: Builder = field(default_factory=Builder)
    boot: Boot = field(default_factory=Boot)
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    deploy_timeout: float = 30.0
    drain_timeout: float = 30.0
    readiness_delay: float = 7.0
    retain_containers: int = 5
    hooks_path: str = ".freehold/hooks"
    warnings: tuple[str, ...] = ()
    secrets: Callable[[str], Secret] = field(default=lambda name: Secret(""), repr=False, compare=False)

    @property
    def name(self) -> str:
        """The service and its destination: `app` or `app-staging`."""
        return f"{self.service}-{self.destination}" if self.destination else self.service

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host, in the order of the file, the primary first."""
        seen = dict.fromkeys([self.primary_host, *(host for role in self.roles for host in role.hosts)])
        return tuple(seen)

    @property
    def primary_role(self) -> Role:
        """The role whose first host leads: `primary_role`, or the first."""
        return next((role for role in self.roles if role.name == self.primary_role_name), self.roles[0])

    @property
    def primary_host(self) -> str:
        """The first host of the primary role; locks live there."""
        return next(iter(self.primary_role.hosts), next(host for role in self.roles for host in role.hosts))

    def roles_on(self, host: str) -> tuple[Role, ...]:
        """The roles that run on a host."""
        return tuple(role for role in self.roles if host in role.hosts)

    def container_prefix(self, role: Role) -> str:
        """`app-web` or `app-web-staging`: containers are named so, followed by the version."""
        return "-".join(part for part in (self.service, role.name, self.destination) if part)

    def container_name(self, role: Role, version: str) -> str:
        """The name of the container of a role at a version."""
        return f"{self.container_prefix(role)}-{version}"

    def image_name(self, version: str) -> str:
        """The image of a version: `[server/]repository:version`."""
        server = self.registry.server if self.registry else None
        return f"{server}/{self.image}:{version}" if server else f"{self.image}:{version}"

    def env_for(self, role: Role) -> tuple[dict[str, str], dict[str, Secret]]:
        """Clear values and revealed-by-need secrets of a role's containers."""
        env = self.env.merged(role.env)
        secret: dict[str, Secret] = {}
        for entry in env.secret:
            name, _, source = entry.partition(":")
            secret[name] = self.secrets(source or name)
        return dict(env.clear), secret

    def select(
        self, hosts: tuple[str, ...] = (), roles: tuple[str, ...] = (), primary: bool = False
    ) -> DeployConfig:
        """Only the hosts and roles that match the patterns (`web-*`); UsageError where none does."""
        import dataclasses

        chosen = self.roles
        if roles:
            chosen = tuple(role for role in chosen if any(fnmatch.fnmatch(role.name, p) for p in roles))
            if not chosen:
                names = [role.name for role in self.roles]
                raise UsageError(f"no role matches {', '.join(roles)}", hint=_offer(roles[0], names))
        if primary:
            hosts = (self.primary_host,)
        if hosts:
            chosen = tuple(
                dataclasses.replace(
                    role, hosts=tuple(h for h in role.hosts if any(fnmatch.fnmatch(h, p) for p in hosts))
                )
                for role in chosen
            )
            chosen = tuple(role for role in chosen if role.hosts)
            if not chosen:
                raise UsageError(
                    f"no host matches {', '.join(hosts)}", hint=_offer(hosts[0], list(self.hosts))
                )
        return dataclasses.replace(self, roles=chosen)


def _offer(word: str, names: list[str]) -> str:
    guess = near(word, names)
    return f"did you mean {guess!r}?" if guess else f"there are: {', '.join(names)}"
