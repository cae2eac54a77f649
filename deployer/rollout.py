"""The dangerous story: look, deliver, prepare, commit, finish; and the way back for the whole fleet.

Until every host has committed, the old containers run on. Whatever goes wrong before that puts every
host back to what it was, proxies first. What a user of the application sees is the old version, then
the new one, and nothing in between. Where the connection breaks while a host switches, its state is
read before anything is undone. Without the lock nothing goes on: another may deploy by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployer.commands import balance, finishing, front, phases, streams, wayback
from deployer.commands import facts as facts_commands
from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig, Role
from deployer.fleet import Fleet
from deployer.kept import check_kept, leftovers
from deployer.report import check, connection_lost, summary
from deployer.script import Script, limit
from deployer.underlock import UnderLock
from freehold.console import Console
from freehold.errors import FreeholdError

LOOK_TIMEOUT = 120.0
START_TIMEOUT = 90.0
COMMIT_TIMEOUT = 180.0
FINISH_TIMEOUT = 120.0
UNDO_TIMEOUT = 120.0
CHECK_TIMEOUT = 150.0
"""More than a host's scripts wait for one another (`GUARD_PATIENCE`)."""


@dataclass(frozen=True)
class Delivery:
    """What the hosts have once the image has travelled: its name there."""

    image: str


Deliver = Callable[[Mapping[str, HostFacts]], Delivery]
RunHook = Callable[[str], None]


def no_hooks(_name: str) -> None:
    """A project without hooks."""


@dataclass
class Rollout(UnderLock):
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
    ways: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict, init=False)
    """How hosts in front reach those behind them, as `look` was told."""
    _ahead: bool = field(default=False, init=False)
    """The environment was written before anything else."""
    _committing: bool = field(default=False, init=False)
    """Hosts were told to switch, and may have."""
    _questions: Mapping[str, Script] = field(default_factory=dict, init=False)

    # -- the stories ---------------------------------------------------------------------------

    def deploy(self, deliver: Deliver, facts: Mapping[str, HostFacts] | None = None) -> None:
        """Bring the version to every host."""
        facts = facts if facts is not None else self.look()
        with self.without_traces(facts):
            delivery = deliver(facts)
            self.hook("pre-app-boot")
            self.still_locked()

        def start() -> None:
            self.prepare(delivery)
            self._in_front(
                lambda host: phases.prepare(self.config, host, (), self.version, delivery.image), "Preparing"
            )

        self._carry_out(facts, start, "deployed", f"deploy of {self.version} failed")

    def rollback(self, facts: Mapping[str, HostFacts]) -> None:
        """Go back to a version whose containers are still there: no build, no transfer."""
        check_kept(self.config, self.version, facts)
        self.revived = True
        self.hook("pre-app-boot")
        self.still_locked()
        self._carry_out(facts, self.revive, "rolled back to", f"rollback to {self.version} failed")

    def _carry_out(
        self, facts: Mapping[str, HostFacts], start: Callable[[], None], verb: str, failure: str
    ) -> None:
        live = False
        try:
            start()
            self.commit(facts)
            live = True
            self.hook("post-app-boot")
        except BaseException as exc:
            if not (live and self._left_alone()):
                self.go_back(facts, f"{failure}: {str(exc).splitlines()[0] if str(exc) else 'interrupted'}")
            raise
        if not self._left_alone():
            self.finish(facts, f"{verb} {self.version}")

    def _left_alone(self) -> bool:
        """Whether the version, which serves everywhere, is left as it is: another may deploy by now."""
        lost = self.fleet.lock_lost.is_set()
        if lost:
            self.console.warn(
                f"{self.fleet.lock_host}: the deploy lock was lost; {self.version} serves, and the old "
                "version runs on beside it until the next deploy stops it"
            )
        return lost

    # -- the chapters --------------------------------------------------------------------------

    def make_ready(self) -> Mapping[str, Script]:
        """Put together what `look` asks each host, which may be done while they are still being reached."""
        self._questions = {
            host: facts_commands.facts_script(self.config, host, self.images_question)
            for host in self.config.routed_hosts
        }
        self.console.make_ready()
        return self._questions

    def look(self) -> dict[str, HostFacts]:
        """Ask every host what it runs; fails when one cannot be asked or is not prepared."""
        scripts = self._questions or self.make_ready()
        answers = self.fleet.run(scripts, "Looking at the hosts", timeout=LOOK_TIMEOUT)
        errors = [*answers.errors.values(), *check(scripts, answers.values)]
        if errors:
            raise summary(errors, "nothing was changed") if len(errors) > 1 else errors[0]
        facts = {
            host: facts_commands.parse_facts(self.config, result).settled()
            for host, result in answers.values.items()
        }
        self.ways = {host: known.ways for host, known in facts.items() if known.ways}
        return facts

    def write_environment(self, image: str) -> None:
        """Have the version's environment on every host ahead of `prepare`, for `app exec` in a hook."""
        scripts = {
            host: phases.environment(self.config, host, self.config.roles_on(host), self.version, image)
            for host in self.config.hosts
        }
        self._ahead = True
        self._must(scripts, f"Environment of {self.version}", LOOK_TIMEOUT)

    @contextmanager
    def without_traces(self, facts: Mapping[str, HostFacts]) -> Iterator[None]:
        """While nothing has been started: where it ends badly, hosts have no files of the version either."""
        try:
            yield
        except BaseException:
            if self._ahead:
                self.fleet.cancelled.clear()
                scripts = {
                    host: wayback.forget_environment(self.config, known, self.version)
                    for host, known in facts.items()
                }
                answers = self.fleet.run(scripts, f"Forgetting {self.version}", timeout=LOOK_TIMEOUT)
                for error in [*answers.errors.values(), *check(scripts, answers.values)]:
                    self.console.warn(f"files of {self.version} are left: {error.message}")
            raise

    def prepare(self, delivery: Delivery) -> None:
        """New containers on every host, healthy, without traffic; the others after the primary role."""

        self._start(
            lambda host, roles: phases.prepare(
                self.config, host, roles, self.version, delivery.image, balance.admissible(self.ways, host)
            )
        )

    def revive(self) -> None:
        """The kept containers of the version run again, healthy, without traffic."""
        versions = {role.name: self.version for role in self.config.roles}
        self._start(
            lambda host, roles: phases.revive(
                self.config,
                roles,
                versions,
                rollback=True,
                admitted=balance.admissible(self.ways, host),
            )
        )
        self._in_front(lambda host: front.recall(self.config, self.version), "Asking")

    def _in_front(self, script: Callable[[str], Script], verb: str) -> None:
        """The hosts that balance and run nothing."""
        hosts = [host for host in self.config.balancers if host not in self.config.hosts]
        scripts = {host: script(host) for host in hosts}
        if scripts:
            self._must(scripts, f"{verb} the load balancers", limit(scripts, START_TIMEOUT))

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
                self._must(scripts, f"{title} {self.version}", limit(scripts, START_TIMEOUT))

    def commit(self, facts: Mapping[str, HostFacts]) -> None:
        """Traffic to the new containers, on all hosts at once; hosts in front come after those behind."""
        self.still_locked()
        self._committing = True
        balancers = self.config.balancers
        self._switch([host for host in self.config.hosts if host not in balancers], facts, "traffic")
        self._switch(balancers, facts, "the load balancers")

    def _switch(self, hosts: Sequence[str], facts: Mapping[str, HostFacts], what: str) -> None:
        scripts = {
            host: phases.commit(
                self.config,
                self.config.roles_on(host),
                self.version,
                [role for role in self.config.balanced_on(host) if host not in role.hosts],
            )
            for host in hosts
        }
        if not scripts:
            return
        title = f"Switching {what} to {self.version}"
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
        scripts = {
            host: finishing.finish(
                self.config,
                leftovers(self.config, known, self.version, revived=self.revived),
                seen=len(known.history),
                version=self.version,
                audit=f"{self.who} {what}",
                more=finishing.further(self.config, known, self.version),
            )
            for host, known in facts.items()
        }
        answers = self.fleet.run(scripts, "Finishing", timeout=limit(scripts, FINISH_TIMEOUT))
        for error in [*answers.errors.values(), *check(scripts, answers.values)]:
            self.console.warn(f"{self.version} is live, but: {error.message}")
        for host, result in answers.values.items():
            for line in streams.told(result):
                self.console.info(f"{host}: {line}")
            for lack in finishing.missing(self.config, result):
                self.console.warn(f"{host}: {self.version} is live, {lack}")

    def go_back(self, facts: Mapping[str, HostFacts], why: str) -> None:
        """Every host as it was. Hosts that cannot be reached are named; the next deploy converges."""
        for error in self.put_back(facts, why):
            overtaken = phases.OVERTAKEN in error.message
            next_one = "all stays as that left it" if overtaken else "the next deploy will"
            self.console.warn(f"could not be put back: {error.message}; {next_one}")

    def put_back(self, facts: Mapping[str, HostFacts], why: str) -> list[FreeholdError]:
        """Every host as it was; returns why some are not."""
        self.fleet.cancelled.clear()
        scripts = {
            host: wayback.undo(
                self.config,
                known,
                self.config.roles_on(host),
                self.version,
                audit=f"{self.who} {why}",
                committing=self._committing,
            )
            for host, known in facts.items()
        }
        old = next((known.version for known in facts.values() if known.version), None)
        title = f"Putting every host back to {old}" if old else "Putting every host back"
        answers = self.fleet.run(scripts, title, timeout=limit(scripts, UNDO_TIMEOUT))
        return [*answers.errors.values(), *check(scripts, answers.values)]
