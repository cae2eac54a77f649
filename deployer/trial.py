"""A version on a share of the visitors: begun beside the one that serves, changed, taken away again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.commands import canary
from deployer.commands.facts import HostFacts
from deployer.commands.serving import serving
from deployer.config import DeployConfig
from deployer.report import summary
from deployer.rollout import COMMIT_TIMEOUT, Deliver, Rollout
from freehold.errors import InputError, UsageError


def of_the_web(config: DeployConfig) -> DeployConfig:
    """The roles that requests reach; UsageError where there is none."""
    names = [role.name for role in config.roles if role.proxy is not None]
    if not names:
        raise UsageError("no role asked for has a proxy", hint="visitors reach such roles only")
    return config.select(roles=names)


@dataclass
class Trial(Rollout):
    """The story of one version that is tried; `config` has the roles that requests reach."""

    @classmethod
    def of(cls, rollout: Rollout) -> Trial:
        """The trial of a version before its rollout."""
        config = of_the_web(rollout.config)
        trial = cls(config, rollout.fleet, rollout.console, rollout.version, rollout.who)
        trial.ways = rollout.ways
        return trial

    def check(self, facts: Mapping[str, HostFacts]) -> None:
        """InputError where the version serves already: there would be nothing to compare it with; or where
        another is being tried.
        """
        others = {one for host in self.config.hosts for one in tried_on(self.config, facts[host])}
        if others - {self.version}:
            raise InputError(
                f"being tried already: {', '.join(sorted(others))}",
                hint="`freehold canary abort` ends that",
            )
        found = [host for host in self.config.hosts if self.version in serving(self.config, facts[host])]
        if found:
            raise InputError(
                f"{self.version} serves already on {', '.join(found)}",
                hint="commit what is to be tried, or name another version with --version",
            )

    def begin(
        self,
        deliver: Deliver,
        facts: Mapping[str, HostFacts],
        percent: float,
        allowed: Sequence[canary.Allowed] = (),
    ) -> None:
        """Start the version beside the one that serves, for a share of the visitors and the `allowed`.

        `facts` may tell of hosts that no request reaches: they get the image now, as `promote` sends none.
        """
        mine = {host: facts[host] for host in self.config.hosts}
        with self.without_traces(mine):
            delivery = deliver(facts)
            self.still_locked()
        try:
            self.prepare(delivery)
            self.split(percent, allowed)
        except BaseException as exc:
            why = str(exc).splitlines()[0] if str(exc) else "interrupted"
            self.go_back(mine, f"canary {self.version} failed: {why}")
            raise

    def split(self, percent: float, allowed: Sequence[canary.Allowed] | None = None) -> None:
        """Change the share of a version that has been started; None leaves the `allowed` as they are."""
        also = "".join(f", {one}" for one in allowed or ())
        audit = f"{self.who} gave {percent:g}%{also} to {self.version}"
        scripts = {
            host: canary.split(
                self.config,
                self.config.roles_on(host),
                self.version,
                percent,
                allowed=allowed,
                audit=audit,
            )
            for host in self.config.hosts
        }
        self._must(scripts, f"{percent:g}% to {self.version}", COMMIT_TIMEOUT)

    def abort(self, facts: Mapping[str, HostFacts]) -> None:
        """Take the version that is being tried away again. InputError: it is tried nowhere (any more)."""
        there = [tried_on(self.config, known) | uncounted(self.config, known) for known in facts.values()]
        if not any(self.version in versions for versions in there):
            raise InputError(
                f"{self.version} is not being tried any more",
                hint="somebody has ended that; `freehold app version` shows what serves",
            )
        errors = self.put_back(
            {host: untried(self.config, known, self.version) for host, known in facts.items()},
            f"aborted {self.version}",
        )
        if errors:
            raise summary(errors, "canary abort") if errors[1:] else errors[0]


def tried_on(config: DeployConfig, known: HostFacts) -> frozenset[str]:
    """The versions that are being tried on a host, over its roles."""
    prefixes = {config.container_prefix(role) for role in config.roles_on(known.host)}
    return frozenset(version for prefix, version in known.canaries.items() if prefix in prefixes)


def uncounted(config: DeployConfig, known: HostFacts) -> frozenset[str]:
    """The versions of which a deploy or trial that was killed has left containers, and which never served.

    Those that Freehold has not started are Kamal's, and serve perhaps.
    """
    return frozenset(
        c.version
        for role in config.roles_on(known.host)
        for c in known.of_role(role)
        if known.history and c.address and c.version not in known.served(role.name)
    )


def untried(config: DeployConfig, known: HostFacts, version: str) -> HostFacts:
    """A host as it was before a version was tried: a container that stepped aside for it has its name."""
    containers = known.containers
    for role in config.roles_on(known.host):
        name = config.container_name(role, version)
        if version not in known.served(role.name):
            # What else there is of it is of a deploy or trial that was killed, and counts for nothing.
            of_it = {c.id for c in known.of_role(role) if c.version == version}
            containers = tuple(c for c in containers if c.id not in of_it)
            continue
        if name in known.pending:
            # What had the name has it back, and what is tried is called by its id.
            mine = {c.id for c in known.of_role(role) if c.version == version and c.name == c.id}
            containers = tuple(c for c in containers if c.id not in mine)
            continue
        aside = max((c.name for c in containers if c.name.startswith(f"{name}_replaced_")), default="")
        containers = tuple(
            dataclasses.replace(c, name=name) if c.name == aside else c for c in containers if c.name != name
        )
    return dataclasses.replace(known, containers=containers)
