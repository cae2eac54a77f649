"""From Kamal to Freehold on the same hosts: the old proxy goes, data and running accessories stay.

The ports change hands between the stop of the old proxy and the first switch of ours; requests in
between find nobody. Whatever fails before the application serves again starts the old proxy anew, on
the hosts where it does not: once a host has switched, the old proxy has nothing behind it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deployer.accessories import Accessories
from deployer.commands import accessory as accessory_commands
from deployer.commands import accessorylook, networks
from deployer.commands import upgrade as commands
from deployer.commands.accessorylook import Found
from deployer.commands.facts import parse_facts, proxy_step, state_step
from deployer.commands.upgrade import OLD_PROXIES, OldProxy, Ports
from deployer.config import DeployConfig
from deployer.fleet import Fleet
from deployer.report import check, must
from deployer.script import Script, ScriptResult, Step
from freehold.console import Console
from freehold.errors import HostError

TIMEOUT = 300.0


@dataclass(frozen=True)
class HostPlan:
    """What an upgrade finds on a host, and so has to do."""

    host: str
    ports: Ports
    prepared: bool
    joining: tuple[str, ...] = ()
    """Accessories that run outside of the application's network."""
    version: str | None = None
    """What Kamal runs there."""

    @property
    def old(self) -> tuple[OldProxy, ...]:
        """The proxies of Kamal that run."""
        return tuple(proxy for proxy in self.ports.proxies if proxy.running and proxy.known)

    @property
    def stopped(self) -> tuple[OldProxy, ...]:
        """The one that an upgrade stopped which came to no end: Kamal's application waits for visitors."""
        waiting = [p for p in self.ports.proxies if p.known] if self.version and not self.old else []
        return tuple(sorted(waiting, key=lambda proxy: list(OLD_PROXIES).index(proxy.name))[:1])

    @property
    def deserted(self) -> tuple[str, ...]:
        """Other applications of the host, which nobody reaches once the old proxy has stopped."""
        return self.ports.others if self.old else ()

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.prepared and not self.old and not self.joining and self.version is None

    def lines(self) -> list[str]:
        """The plan in words."""
        found = [f"stop {proxy.title} ({proxy.name}, {proxy.ports or 'no ports'})" for proxy in self.old]
        if self.deserted:
            found[-1] += f"; nobody reaches {', '.join(self.deserted)} then, until that is upgraded too"
        if not self.prepared:
            found.append("prepare the host: Docker, Freehold's proxy, network, firewall (config/host.yml)")
        found += [f"connect {name} to the application's network; it goes on running" for name in self.joining]
        if self.version:
            found.append(f"start {self.version} anew behind Freehold's proxy")
        return found or ["nothing to do"]


@dataclass
class Takeover:
    """The upgrade of the hosts of a configuration."""

    config: DeployConfig
    fleet: Fleet
    console: Console
    accessories: Accessories

    def look(self) -> dict[str, HostPlan]:
        """What there is to do. HostError where the ports belong to something that is not Kamal's."""
        hosts = self.config.all_hosts
        steps = {host: self._question(host) for host in hosts}
        scripts = {host: Script(tuple(found), keep_going=True) for host, found in steps.items()}
        answers = self.fleet.run(scripts, "Looking at the hosts", timeout=TIMEOUT)
        for error in answers.errors.values():
            raise error
        return {host: self._plan(result) for host, result in answers.values.items()}

    def _question(self, host: str) -> list[Step]:
        items = self.config.accessories_on(host)
        found = [state_step(self.config), proxy_step(), commands.look_step(self.config)]
        return [*found, accessorylook.look_step(items)] if items else found

    def _plan(self, result: ScriptResult) -> HostPlan:
        host = result.host
        states = {step.name: step.state for step in result.steps}
        ports = commands.parse_look(result.lines("ports"))
        strangers = [proxy for proxy in ports.proxies if proxy.running and not proxy.known]
        if strangers:
            raise HostError(
                f"{strangers[0].title} has the web ports ({strangers[0].ports})",
                host=host,
                step="upgrade",
                hint=f"it is not Kamal's: `docker stop {strangers[0].name}` on {host} if nobody needs it",
            )
        if ports.listening and not ports.ours and not any(proxy.running for proxy in ports.proxies):
            raise HostError(
                f"a program listens on port {' and '.join(map(str, ports.listening))} that is no container",
                host=host,
                step="upgrade",
                hint="`ss -ltnp` as root names it; stop and disable it (nginx, apache2, …)",
            )
        found = accessorylook.parse_look(result.lines("accessories"))
        joining = tuple(
            item.name
            for item in self.config.accessories_on(host)
            if _outside(item.name, found) and networks.APPLICATION in accessory_commands.networks_of(item)
        )
        known = parse_facts(self.config, result)
        running = [c.version for role in self.config.roles_on(host) for c in known.of_role(role) if c.running]
        return HostPlan(
            host=host,
            ports=ports,
            prepared=states.get("state") == "ok" and states.get("proxy") == "ok",
            joining=joining,
            version=running[0] if running and known.version is None else None,
        )

    def carry_out(
        self,
        plans: Mapping[str, HostPlan],
        bootstrap: Callable[[list[str]], object],
        boot: Callable[[Sequence[str], str], None],
    ) -> None:
        """Do it on these hosts; `bootstrap` prepares hosts, `boot` starts a version of the application."""
        running = {host: plan.old for host, plan in plans.items() if plan.old}
        # Also that which an upgrade has stopped whose computer died: this one would leave nobody serving.
        old = {h: plan.old or plan.stopped for h, plan in plans.items() if plan.old or plan.stopped}
        try:
            steps = {host: commands.let_go_step(found) for host, found in running.items()}
            self._run(steps, "Stopping the old proxy")
            wanting = [host for host, plan in plans.items() if not plan.prepared]
            if wanting:
                bootstrap(wanting)
            for host, plan in plans.items():
                for name in plan.joining:
                    item = self.config.accessory(name)
                    self._run({host: accessory_commands.connect_step(item)}, f"Connecting {name}")
            versions = {plan.version for plan in plans.values() if plan.version}
            for version in sorted(versions):
                boot([host for host, plan in plans.items() if plan.version == version], version)
        except BaseException:
            self.fleet.cancelled.clear()
            self._take_back(old)
            raise

    def _take_back(self, old: Mapping[str, Sequence[OldProxy]]) -> None:
        """The old proxy has its ports again, except where Freehold's serves the application by now."""
        scripts = {
            host: Script((commands.take_back_step(self.config, found),)) for host, found in old.items()
        }
        answers = self.fleet.run(scripts, "Starting the old proxy again", timeout=TIMEOUT)
        for host, result in answers.values.items():
            if version := commands.still_served(result):
                self.console.warn(f"{host}: {version} serves behind Freehold's proxy all the same")
        for error in [*answers.errors.values(), *check(scripts, answers.values)]:
            self.console.warn(f"could not be put back: {error.message}")

    def _run(self, steps: Mapping[str, Step], title: str) -> None:
        scripts = {host: Script((step,)) for host, step in steps.items()}
        if scripts:
            must(scripts, self.fleet.run(scripts, title, timeout=TIMEOUT), "upgrade")


def _outside(name: str, found: Mapping[str, Found]) -> bool:
    known = found.get(name, Found())
    return known.state == "running" and not known.network
