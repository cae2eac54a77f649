"""Spreading a payload between hosts: who waits for whom, and what happens when it does not work."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from deployer.endpoint import Reached
from deployer.fleet import Fleet
from deployer.stream import Stopped
from deployer.transfer import Plan, spread
from deployer.transfer.payload import Payload
from freehold.console import Console
from freehold.errors import FreeholdError

SLOWEST = 100_000
"""Bytes a second below which fetching from another host is given up."""


@dataclass
class Group:
    """Hosts that lack the same; the first is sent it and gives it on."""

    hosts: tuple[str, ...]
    payload: Payload
    once: spread.Once
    ready: threading.Event = field(default_factory=threading.Event)
    first: Reached | None = None
    sum: str = ""
    """SHA-256 of the file, as it is here."""
    failed: bool = False

    @property
    def leader(self) -> str:
        return self.hosts[0]


class Spreading:
    """The groups of one image; none where every host is sent its own."""

    def __init__(
        self, plans: Mapping[str, Plan], payload: Callable[[Plan], Payload], fleet: Fleet, console: Console
    ) -> None:
        wanted = {host: payload(plan) for host, plan in plans.items() if not plan.present}
        facts = {host: plans[host].facts for host in wanted}
        made = [Group(hosts, wanted[hosts[0]], spread.make_once()) for hosts in spread.groups(wanted, facts)]
        self._groups = {host: group for group in made for host in group.hosts}
        self._fleet = fleet
        self._console = console
        self._slots = threading.BoundedSemaphore(spread.AT_ONCE)

    def leads(self, host: str) -> bool:
        """Whether others get theirs from this host, which therefore keeps what it is sent."""
        return host in self._groups and self._groups[host].leader == host

    @contextlib.contextmanager
    def leading(self, host: str) -> Iterator[None]:
        """Around the upload to a host: what it received is on offer afterwards."""
        if not self.leads(host):
            yield
            return
        group = self._groups[host]
        try:
            yield
            self._offer(group)
        except BaseException:
            group.failed = True
            raise
        finally:
            group.ready.set()

    def _offer(self, group: Group) -> None:
        remote = self._fleet[group.leader]
        try:
            reached = remote.reached()
            if _loopback(reached.address):
                # A lab, or a forwarded port.
                self._console.detail(f"no other host reaches {reached.address}, so nothing is spread")
                return
            done = remote.exec(
                "bash -s", stdin=spread.offer(group.payload.name, group.once).encode(), timeout=60
            )
            if done.returncode != 0:
                raise FreeholdError(done.stderr.strip() or "the key was not taken")
            group.sum = spread.digest(group.payload.chunks())
            group.first = reached
        except FreeholdError as exc:
            self._console.warn(
                f"{group.leader} gives nothing on, so each host is sent its own: {exc.message}"
            )

    def advanced(self, host: str, plan: Plan, say: Callable[[str], None]) -> Plan:
        """The plan after what this host could get from another; unchanged where it could not."""
        group = self._groups.get(host)
        if group is None or group.leader == host:
            return plan
        say(f"waiting for {group.leader}")
        while not group.ready.wait(0.2):
            if self._fleet.cancelled.is_set():
                raise Stopped("stopped", host=host)
        if group.failed:
            raise Stopped(f"stopped, as {group.leader} failed", host=host)
        if group.first is None:
            return plan
        with self._slots:
            say(f"from {group.leader}")
            script = spread.fetch(group.payload, group.sum, group.once, group.first)
            try:
                done = self._fleet[host].exec(
                    "bash -s", stdin=script.encode(), timeout=120 + group.payload.total / SLOWEST
                )
            except Stopped:
                raise
            except FreeholdError as exc:
                return self._unchanged(host, group, plan, exc.message)
        part = spread.fetched(done.stdout, group.payload)
        if done.returncode != 0 or part is None:
            lines = done.stderr.strip().splitlines()
            return self._unchanged(host, group, plan, lines[-1] if lines else "nothing arrived")
        return dataclasses.replace(plan, facts=dataclasses.replace(plan.facts, parts=(part,)))

    def _unchanged(self, host: str, group: Group, plan: Plan, why: str) -> Plan:
        self._console.warn(f"{host} got nothing from {group.leader}, so it is sent its own: {why}")
        return plan

    def close(self) -> None:
        """No key and no file is left on the leading hosts."""
        for group in {id(group): group for group in self._groups.values()}.values():
            script = spread.withdraw(group.payload.name, group.once)
            try:
                self._fleet[group.leader].exec("bash -s", stdin=script.encode(), timeout=60)
            except FreeholdError as exc:
                self._console.warn(
                    f"{group.leader}: the key for the other hosts ends by itself after {spread.LIFETIME}: "
                    f"{exc.message}"
                )


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
