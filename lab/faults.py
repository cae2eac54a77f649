"""Faults on purpose: what breaks in production, broken in the lab. Each has its `heal`.

Between the machines the lab's switch cuts, delays and loses; on libvirt's networks cables are pulled, and the
machine itself delays and loses. The road from this computer to a machine (SSH, HTTP) has a card of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from types import TracebackType

from freehold.errors import LabError, UsageError
from lab import guestlink
from lab.healing import heal_inside
from lab.lab import Lab
from lab.links import links
from lab.locks import locked
from lab.networks import Plug
from lab.state import LabState, MachineState
from lab.switch import Link
from lab.virt import ALIVE, Virt

# In a machine's folder: its power was cut by a fault; something inside of it was broken.
DEAD, HURT = "killed", "hurt"
FILL = "/var/lib/freehold-lab-fill"
# The road that lasts while the disk is full or Docker is down: plain SSH needs neither.
DOCKER_UNITS = ("docker.socket", "docker.service", "containerd.service")
FREE_DISK = f"rm -f {FILL}"
START_DOCKER = f"systemctl start {' '.join(reversed(DOCKER_UNITS))}"


def parse_seconds(text: str) -> float:
    """Seconds of `50ms`, `2s`, `1.5`, `10m`, `3h`; negative ones too. UsageError for anything else."""
    found = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(ms|s|m|h|d)?", text.strip())
    if not found:
        raise UsageError(f"{text!r} is no duration", hint="write 50ms, 2s, 10m or 3h")
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}[found[2]]


def cards(machine: MachineState, network: str) -> tuple[Plug, ...]:
    """A machine's cards in the network of that name, or all; UsageError where it has none."""
    found = tuple(plug for plug in machine.cards if network in ("", plug.network))
    if not found:
        known = ", ".join(plug.network for plug in machine.cards)
        raise UsageError(f"{machine.name} is not on a network {network!r}", hint=f"it is on {known}")
    return found


def right_clock(now: float) -> str:
    """The script that sets a clock right, and lets time synchronisation run again."""
    return f'date --set "@{round(now)}"; systemctl start systemd-timesyncd.service 2>/dev/null || true'


def fill_script(leave: int, root: str = "/", fill: str = FILL) -> str:
    """The script that takes the free bytes of the file system at `root` but `leave`, each time again."""
    return (
        f"free=$(df --output=avail -B1 {root} | tail -n 1); take=$((free - {leave})); "
        # Behind what an earlier call took: fallocate counts what a file has already.
        f"have=$(stat -c %s {fill} 2>/dev/null || echo 0); "
        f'if [ "$take" -gt 0 ]; then fallocate -o "$have" -l "$take" {fill}; fi'
    )


class Faults:
    """The faults of one lab. Names are those of machines, or of hosts of the deploy file.

    `with Faults(lab) as faults:` heals all of them when the block is left.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def __enter__(self) -> Faults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lab.exists:
            self.heal()

    def _name(self, machine: str) -> str:
        return self.lab.state.machine(machine).name

    def cut(self, machine: str, *, lan: bool = True, management: bool = True, network: str = "") -> None:
        """Pull a machine's cables: between the machines, from this computer, or both.

        `network` is the only one that is meant by the cables between the machines.
        """
        self._links(machine, lan=lan, management=management, network=network, up=False)

    def mend(self, machine: str, *, lan: bool = True, management: bool = True, network: str = "") -> None:
        """Put the cables back."""
        self._links(machine, lan=lan, management=management, network=network, up=True)

    def _links(self, machine: str, *, lan: bool, management: bool, network: str, up: bool) -> None:
        state = self.lab.state
        found = state.machine(machine)
        plugs = cards(found, network)
        with locked(self.lab.name), self.lab.connected(state) as virt:
            cables = links(virt, state)
            if lan:
                cables.lan(found, plugs, up=up)
            if management:
                cables.management(found, up=up)

    def slow(
        self,
        machine: str,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        loss: float = 0.0,
        rate: float = 0.0,
        network: str = "",
    ) -> None:
        """Spoil a machine's links to the others: seconds each way, share lost (0 to 1), bits per second.

        `network` is the only one that is meant.
        """
        try:
            link = Link(delay=delay, jitter=jitter, loss=loss, rate=rate)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        state = self.lab.state
        found = state.machine(machine)
        plugs = cards(found, network)
        with self.lab.connected(state) as virt:
            cables = links(virt, state)
            if cables.inside:
                devices = [plug.device for plug in plugs]
                self._break(machine, guestlink.slow(devices, delay, jitter, loss, rate))
            cables.spoil(found, plugs, link)

    def partition(self, *groups: Sequence[str]) -> None:
        """Keep groups of machines apart; those that no group names are one more group."""
        state = self.lab.state
        names = [[self._name(machine) for machine in group] for group in groups]
        with self.lab.connected(state) as virt:
            links(virt, state).partition(names)

    def pause(self, machine: str) -> None:
        """Freeze a machine: it answers nothing, its connections stay open, its clock stands still."""
        self._mark(machine, HURT)
        with self.lab.connected(self.lab.state) as virt:
            virt.suspend(self.lab.state.machine(machine).uuid)

    def resume(self, machine: str) -> None:
        """Let it go on."""
        with self.lab.connected(self.lab.state) as virt:
            virt.resume(self.lab.state.machine(machine).uuid)

    def kill(self, machine: str) -> None:
        """Cut the power; `heal` and `Lab.start` switch it on again."""
        self.lab.stop([machine], force=True)
        # Tells it from a machine that somebody stopped on purpose, which stays off.
        self._mark(machine, DEAD)

    def _mark(self, machine: str, mark: str) -> None:
        state = self.lab.state
        (state.folder(state.machine(machine)) / mark).touch()

    def _revive(self, state: LabState, virt: Virt) -> None:
        marks = {machine.name: state.folder(machine) / DEAD for machine in state.machines}
        dead = [
            machine.name
            for machine in state.machines
            if marks[machine.name].exists() and virt.state(machine.uuid) not in ALIVE
        ]
        if dead:
            self.lab.start(dead)
        for mark in marks.values():
            mark.unlink(missing_ok=True)

    def power_cycle(self, machine: str, *, wait: bool = True) -> None:
        """Press the reset button; with `wait` return when the machine is ready again."""
        with self.lab.connected(self.lab.state) as virt:
            virt.reset(self.lab.state.machine(machine).uuid)
        if wait:
            self.lab.await_reboot(machine)

    def fill_disk(self, machine: str, *, leave: int = 0) -> None:
        """Take all free space of the root file system but `leave` bytes."""
        self._break(machine, fill_script(leave))

    def free_disk(self, machine: str) -> None:
        """Give the space back."""
        self._root(machine, FREE_DISK)

    def stop_docker(self, machine: str) -> None:
        """Stop Docker and containerd, the socket that would start it again included."""
        self._break(machine, f"systemctl stop {' '.join(DOCKER_UNITS)}")

    def start_docker(self, machine: str) -> None:
        """Start them again."""
        self._root(machine, START_DOCKER)

    def skew_clock(self, machine: str, seconds: float) -> None:
        """Set a machine's clock off by so many seconds, and stop what would set it right."""
        self._break(
            machine,
            "systemctl stop systemd-timesyncd.service chrony.service 2>/dev/null; "
            f'date --set "@$(($(date +%s) + {round(seconds)}))"',
        )

    def set_clock(self, machine: str) -> None:
        """Set a machine's clock right, and let time synchronisation run again."""
        self._root(machine, right_clock(time.time()))

    def heal(self) -> None:
        """Undo every fault: links, partitions, pauses, cut power, full disks, stopped Docker, clocks.

        LabError names machines that run but could not be healed inside; those that are off are warned of.
        """
        state = self.lab.state
        with self.lab.connected(state) as virt:
            cables = links(virt, state)
            cables.heal()
            for machine in state.machines:
                current = virt.state(machine.uuid)
                if current == "paused":
                    virt.resume(machine.uuid)
                if current in ("running", "paused"):
                    cables.management(machine, up=True)
            self._revive(state, virt)
            hurt = [machine for machine in state.machines if (state.folder(machine) / HURT).exists()]
            off = [machine for machine in hurt if virt.state(machine.uuid) != "running"]
        for machine in off:
            self.lab.console.warn(
                f"{machine.name} does not run, so what is broken inside of it stays: `freehold lab start`, "
                "then `fault heal` again"
            )
        self._mend_inside([machine for machine in hurt if machine not in off])
        if not off:
            self.lab.console.detail(f"the lab {state.name} is whole again")

    def _mend_inside(self, machines: Sequence[MachineState]) -> None:
        state = self.lab.state

        def whole(machine: MachineState) -> str:
            network = (guestlink.whole([plug.device for plug in machine.cards]),) if state.nat else ()
            return "\n".join((*network, FREE_DISK, right_clock(time.time()), START_DOCKER))

        heal_inside(
            self.lab,
            machines,
            whole,
            done=lambda machine: (state.folder(machine) / HURT).unlink(missing_ok=True),
        )

    def _break(self, machine: str, script: str) -> None:
        self._mark(machine, HURT)
        self._root(machine, script, "the fault could not be made")

    def _root(self, machine: str, script: str, failed: str = "what was broken could not be mended") -> None:
        done = self.lab.exec(machine, ["sudo", "bash", "-c", script], timeout=120, check=False)
        if done.returncode != 0:
            raise LabError(
                f"{machine}: {failed} (exit code {done.returncode})",
                hint="does the machine answer? `freehold lab status` shows it",
                details=(done.stderr or done.stdout).splitlines()[-5:],
            )
