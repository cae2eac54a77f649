"""The dangerous story: look, deliver, prepare, commit, finish; and the way back for the whole fleet.

Until every host has committed, the old containers run on. Whatever goes wrong before that puts every
host back to what it was, proxies first. What a user of the application sees is the old version, then
the new one, and nothing in between. Where the connection breaks while a host switches, its state is
read before anything is undone. Without the lock nothing goes on: another may deploy by then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deployer.commands import canary, certificates, phases
from deployer.commands import facts as facts_commands
from deployer.commands.facts import HostFacts
from deployer.commands.jobs import install_step
from deployer.config import DeployConfig, Role
from deployer.fleet import Answers, Fleet
from deployer.kept import leftovers
from deployer.report import check, summary
from deployer.script import Script, ScriptResult
from deployer.stream import Stopped
from freehold.console import Console
from freehold.errors import FreeholdError, HostError, InputError, LockedError

LOOK_TIMEOUT = 120.0
COMMIT_TIMEOUT = 180.0
CHECK_TIMEOUT = 150.0
"""More than a host's scripts wait for one another (`GUARD_PATIENCE`)."""


@dataclass(frozen=True)
class Delivery:
    """What the hosts have once the image has travelled: its name there, and `docker tag` where needed."""

    image: str
    retag: Mapping[str, Sequence[str]] = field(default_factory=dict)


Deliver = Callable[[Mapping[str, HostFacts]], Delivery]
RunHook = Callable[[str], None]


def no_hooks(_name: str) -> None:
    """A project without hooks."""


@dataclass
class Rollout:
    """One deploy or rollback of one version to the hosts of a configuration."""

    config: DeployConfig
    fleet: Fleet
    console: Console
    version: str
    who: str
    images_question: str = ""
    revived: bool = False
    hook: RunHook = no_hooks
    """Runs `pre-app-boot` and `post-app-boot`; one that raises sends every host back."""

    # -- the stories ---------------------------------------------------------------------------

    def deploy(self, deliver: Deliver, facts: Mapping[str, HostFacts] | None = None) -> None:
        """Bring the version to every host."""
        facts = facts if facts is not None else self.look()
        delivery = deliver(facts)
        self._carry_out(facts, lambda: self.prepare(delivery), "deployed", f"deploy of {self.version} failed")

    def rollback(self, facts: Mapping[str, HostFacts]) -> None:
        """Go back to a version whose containers are still there: no build, no transfer."""
        for host, known in facts.items():
            for role in self.config.roles_on(host):
                if self.version not in known.versions(role):
                    kept = sorted({v for v in known.versions(role) if v in known.history})
                    raise InputError(
                        f"{host} has no container of {role.name} at version {self.version}",
                        hint=f"kept there: {', '.join(kept)}" if kept else "deploy that version instead",
                    )
        self.revived = True
        self._carry_out(facts, self.revive, "rolled back to", f"rollback to {self.version} failed")

    def canary(self, deliver: Deliver, facts: Mapping[str, HostFacts], percent: float) -> None:
        """Start the version beside the one that serves, and give it a share of the visitors."""
        delivery = deliver(facts)
        try:
            self.prepare(delivery)
            self.split(percent)
        except BaseException as exc:
            why = str(exc).splitlines()[0] if str(exc) else "interrupted"
            self.put_back(facts, f"canary {self.version} failed: {why}")
            raise

    def split(self, percent: float) -> None:
        """Change the share of a version that has been started."""
        audit = f"{self.who} gave {percent:g}% to {self.version}"
        scripts = {
            host: canary.split(self.config, self.config.roles_on(host), self.version, percent, audit=audit)
            for host in self.config.hosts
        }
        self._must(scripts, f"{percent:g}% to {self.version}", COMMIT_TIMEOUT)

    def abort(self, facts: Mapping[str, HostFacts]) -> None:
        """Take the version that is being tried away again."""
        without = {
            host: dataclasses.replace(
                known, containers=tuple(c for c in known.containers if c.version != self.version)
            )
            for host, known in facts.items()
        }
        self.put_back(without, f"aborted {self.version}")

    def _carry_out(
        self, facts: Mapping[str, HostFacts], start: Callable[[], None], verb: str, failure: str
    ) -> None:
        self.hook("pre-app-boot")
        try:
            start()
            self.commit(facts)
            self.hook("post-app-boot")
        except BaseException as exc:
            self.put_back(facts, f"{failure}: {str(exc).splitlines()[0] if str(exc) else 'interrupted'}")
            raise
        self.finish(facts, f"{verb} {self.version}")

    # -- the chapters --------------------------------------------------------------------------

    def look(self) -> dict[str, HostFacts]:
        """Ask every host what it runs; fails when one cannot be asked or is not prepared."""
        scripts = {
            host: facts_commands.facts_script(self.config, host, self.images_question)
            for host in self.config.hosts
        }
        answers = self.fleet.run(scripts, "Looking at the hosts", timeout=LOOK_TIMEOUT)
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, "nothing was changed") if len(errors) > 1 else errors[0]
        return {
            host: facts_commands.parse_facts(self.config, result) for host, result in answers.values.items()
        }

    def prepare(self, delivery: Delivery) -> None:
        """New containers on every host, healthy, without traffic; the others after the primary role."""

        def script(host: str, roles: tuple[Role, ...]) -> Script:
            retag = delivery.retag.get(host, ())
            return phases.prepare(self.config, host, roles, self.version, delivery.image, retag=retag)

        self._start(script)

    def revive(self) -> None:
        """The kept containers of the version run again, healthy, without traffic."""
        self._start(lambda host, roles: phases.revive(self.config, roles, self.version))

    def _start(self, script: Callable[[str, tuple[Role, ...]], Script]) -> None:
        """Start role by role. The primary one is the gate: nothing else starts where it is not healthy."""
        first = self.config.primary_role
        others = [role for role in self.config.roles if role is not first]
        for title, roles in (("Starting", [first]), ("Starting the other roles of", others)):
            hosts = [host for host in self.config.hosts if any(host in role.hosts for role in roles)]
            size = self.config.boot.group_size(len(hosts))
            for index in range(0, len(hosts), size):
                if index:
                    self.fleet.lock_lost.wait(self.config.boot.wait)
                scripts = {
                    host: script(host, tuple(role for role in roles if host in role.hosts))
                    for host in hosts[index : index + size]
                }
                timeout = 90 + len(roles) * (self.config.deploy_timeout * 1.5 + self.config.readiness_delay)
                self._must(scripts, f"{title} {self.version}", timeout)

    def commit(self, facts: Mapping[str, HostFacts]) -> None:
        """Traffic to the new containers, on all hosts at once."""
        scripts = {
            host: phases.commit(self.config, self.config.roles_on(host), self.version)
            for host in self.config.hosts
        }
        title = f"Switching traffic to {self.version}"
        answers = self._watched(scripts, title, COMMIT_TIMEOUT, together=False)
        lost = [host for host in scripts if connection_lost(answers, host)]
        reread = self._switched(lost, facts) if lost else frozenset()
        self._raise(
            [error for host, error in answers.errors.items() if host not in reread],
            {host: script for host, script in scripts.items() if host not in reread},
            {host: result for host, result in answers.values.items() if host not in reread},
        )

    def _switched(self, hosts: Sequence[str], facts: Mapping[str, HostFacts]) -> frozenset[str]:
        """Those of the hosts which had switched by the time their connection broke."""
        scripts = {
            host: phases.switched(
                self.config, self.config.roles_on(host), self.version, len(facts[host].history)
            )
            for host in hosts
        }
        answers = self._watched(scripts, "Reading what was switched", CHECK_TIMEOUT, together=False)
        return frozenset(host for host, result in answers.values.items() if result.ok)

    def finish(self, facts: Mapping[str, HostFacts], what: str) -> None:
        """Old containers end their requests and stop; what nobody needs any more goes.

        The version is live by now: what fails here is told, and undone by nothing.
        """
        scripts = {}
        for host, known in facts.items():
            leftover = leftovers(self.config, known, self.version, revived=self.revived)
            more = [install_step(self.config, self.version)]
            if secure := certificates.await_step(self.config.roles_on(host)):
                more.append(secure)
            scripts[host] = phases.finish(self.config, leftover, audit=f"{self.who} {what}", more=more)
        stops = sum(phases.grace(self.config, role, drained=True) for role in self.config.roles)
        timeout = 90 + 2 * self.config.drain_timeout + stops
        answers = self.fleet.run(scripts, "Finishing", timeout=timeout)
        for error in [*answers.errors.values(), *check(scripts, answers.values)]:
            self.console.warn(f"{self.version} is live, but: {error.message}")
        for host, result in answers.values.items():
            for name in certificates.missing(result):
                self.console.warn(f"{host}: {self.version} is live, but without a certificate for {name}")

    def put_back(self, facts: Mapping[str, HostFacts], why: str) -> None:
        """Every host as it was. Hosts that cannot be reached are named; the next deploy converges."""
        self.fleet.cancelled.clear()
        scripts = {
            host: phases.undo(
                self.config, known, self.config.roles_on(host), self.version, audit=f"{self.who} {why}"
            )
            for host, known in facts.items()
        }
        old = next((known.version for known in facts.values() if known.version), None)
        title = f"Putting every host back to {old}" if old else "Putting every host back"
        answers = self.fleet.run(scripts, title, timeout=120 + self.config.drain_timeout)
        for error in [*answers.errors.values(), *check(scripts, answers.values)]:
            self.console.warn(f"could not be put back: {error.message}; the next deploy will")

    def _must(self, scripts: Mapping[str, Script], title: str, timeout: float) -> None:
        answers = self._watched(scripts, title, timeout, together=True)
        self._raise(list(answers.errors.values()), scripts, answers.values)

    def _watched(
        self, scripts: Mapping[str, Script], title: str, timeout: float, *, together: bool
    ) -> Answers[ScriptResult]:
        self._still_locked()
        answers = self.fleet.run(scripts, title, timeout=timeout, together=together, watched=True)
        self._still_locked()
        return answers

    def _still_locked(self) -> None:
        if self.fleet.lock_lost.is_set():
            raise LockedError(
                f"{self.fleet.lock_host}: the deploy lock was lost while the deploy ran",
                hint="the connection to this host broke, or it went down; every host goes back",
            )

    def _raise(
        self,
        failures: Sequence[FreeholdError],
        scripts: Mapping[str, Script],
        results: Mapping[str, ScriptResult],
    ) -> None:
        """One error for all that failed. A host that was only stopped on their account is not one of them."""
        errors = [error for error in failures if not isinstance(error, Stopped)]
        errors += check(scripts, results)
        if errors or failures:
            errors = errors or list(failures)
            raise summary(errors, "every host goes back to the version before") if errors[1:] else errors[0]


def connection_lost(answers: Answers[ScriptResult], host: str) -> bool:
    """Whether a host's script may have come to its end although nobody heard of it."""
    if host in answers.errors:
        return isinstance(answers.errors[host], HostError) and not isinstance(answers.errors[host], Stopped)
    return answers.values[host].returncode == -1
