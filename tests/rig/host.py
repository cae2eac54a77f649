"""One host of a rig: power, network link, commands and files, from outside and behind SSH's back."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from freehold.errors import ProcessError
from freehold.process import Completed, Runner
from tests.rig import identity, netns
from tests.rig.errors import RigError
from tests.rig.nspawn import Container, Machine

Suite = Literal["bookworm", "trixie"]
BOOT_DEADLINE = 180.0
# Where a host keeps its state as it was after the first boot, for `reset`.
PRISTINE = "/root/.pristine.tar"

REMEMBER = f"tar -C /var/lib/freehold -cpf {PRISTINE} ."

RESET = f"""\
set -eu
systemctl is-active -q docker || {{ systemctl reset-failed docker; systemctl start docker; }}
ids=$(docker ps -aq); [ -z "$ids" ] || docker rm --force --volumes $ids >/dev/null
for network in $(docker network ls --filter type=custom --format '{{{{.Name}}}}'); do
    [ "$network" = freehold ] || docker network rm "$network" >/dev/null
done
volumes=$(docker volume ls -q); [ -z "$volumes" ] || docker volume rm --force $volumes >/dev/null
cd /var/lib/freehold
configured() {{ find proxy -name '*.caddy' -exec cksum {{}} + | sort; }}
before=$(configured)
find . -mindepth 1 -delete
tar -xpf {PRISTINE}
after=$(configured)
if ! systemctl is-active -q freehold-proxy; then
    systemctl reset-failed freehold-proxy
    systemctl restart freehold-proxy
elif [ "$before" != "$after" ]; then
    systemctl reload freehold-proxy
fi
find /run/lock/freehold -type f -delete
systemctl reset-failed
"""


@dataclass(frozen=True)
class HostSpec:
    """A host to boot. `plain`: Debian as it comes, without the recipe; root may log in by key."""

    name: str
    suite: Suite = "bookworm"
    plain: bool = False


class Host:
    """A host of a rig. It is off until `start`."""

    ssh_port = 22

    def __init__(
        self,
        spec: HostSpec,
        machine: Machine,
        *,
        address: str,
        host_key: identity.KeyPair,
        hub: netns.Namespace,
        ssh_config: Path,
        port: str,
        mac: str,
        runner: Runner,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.machine = machine
        self.address = address
        self.host_key = host_key
        self.user = "root" if spec.plain else "deploy"
        self._hub = hub
        self._ssh_config = ssh_config
        self._port = port
        self._mac = mac
        self._runner = runner
        self._changed = changed
        self._container: Container | None = None
        self._remembered = False

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def suite(self) -> str:
        return self.spec.suite

    @property
    def known_hosts(self) -> str:
        """The line for a known_hosts file, with name and address."""
        return f"{self.name},{self.address} {self.host_key.public}"

    @property
    def running(self) -> bool:
        return self._container is not None and self._container.running

    @property
    def pid(self) -> int | None:
        """The process that supervises the container."""
        return self._container.pid if self._container else None

    def leader(self) -> int:
        """The host's PID 1 as this machine sees it; RigError when the host is off."""
        return self._booted().require_leader()

    # Power

    def start(self, deadline: float = BOOT_DEADLINE) -> None:
        """Power on with a new network card; returns when systemd says "running". Raises BootFailed."""
        if self.running:
            return
        self._plug()
        self._container = Container(self.machine, self._runner)
        self._container.wait_running(deadline)
        # "running" does not wait for an address unless some unit asked for the network.
        self.exec(("systemctl", "start", "network-online.target"))
        if not self.spec.plain and not self._remembered:
            self.exec(REMEMBER)
            self._remembered = True
        self._changed()

    def stop(self, deadline: float = 90) -> None:
        """Shut down in order, at most `deadline` seconds; then the plug is pulled."""
        if self._container is not None:
            self._container.power_off(deadline)
        self._unplug()

    def kill(self) -> None:
        """Power cut: no process gets to do anything more."""
        if self._container is not None:
            self._container.power_cut()
        self._unplug()

    def reboot(self) -> None:
        """Shut down in order and boot again: new kernel state, same disk."""
        self.stop()
        self.start()

    # Network link

    def cut(self) -> None:
        """Pull the network cable: packets vanish without a word."""
        netns.batch(self._runner, [f"link set {self._port} down"], self._hub)

    def heal(self) -> None:
        """Plug the network cable in again."""
        netns.batch(self._runner, [f"link set {self._port} up"], self._hub)

    def _plug(self) -> None:
        self._unplug()
        own = self.machine.namespace
        netns.batch(
            self._runner,
            [
                f"netns add {own.name}",
                # The same card after a reboot: neighbours remember its address for a while.
                f"link add eth0 address {self._mac} netns {own.name} "
                f"type veth peer name {self._port} netns {self._hub.name}",
            ],
        )
        netns.batch(
            self._runner,
            [f"link set {self._port} master {netns.BRIDGE}", f"link set {self._port} up"],
            self._hub,
        )
        netns.batch(self._runner, ["link set lo up", "link set eth0 up"], own)

    def _unplug(self) -> None:
        # The link goes first: a namespace lives on for as long as anything holds it.
        with suppress(ProcessError):
            netns.batch(self._runner, [f"link del {self._port}"], self._hub)
        if self.machine.namespace.exists:
            netns.batch(self._runner, [f"netns del {self.machine.namespace.name}"])

    # Inside

    def exec(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        stdin: bytes | str | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> Completed:
        """Run inside, not over SSH. Text is for bash. ProcessError with the last lines when it fails."""
        argv = ("bash", "-c", command) if isinstance(command, str) else tuple(command)
        if user != "root":
            argv = ("runuser", "-u", user, "--", *argv)
        try:
            return self._runner.run(self._booted().enter(*argv), stdin=stdin, timeout=timeout, check=check)
        except ProcessError as exc:
            exc.add_note("\n".join((f"on {self.name}: {shlex.join(argv)}", *exc.details)))
            raise

    def testinfra(self, *, sudo: bool = True) -> Any:
        """A testinfra host that goes over SSH as the operator does; with `sudo` it sees as root."""
        import testinfra

        backend = f"ssh://{self.name}?controlpersist=0" + ("&sudo=true" if sudo else "")
        return testinfra.get_host(backend, ssh_config=str(self._ssh_config))

    def read(self, path: str) -> str:
        return self.exec(("cat", "--", path)).stdout

    def write(self, path: str, data: bytes | str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file; missing directories are made."""
        user, group = owner.split(":")
        argv = ("install", "-D", "-m", f"{mode:o}", "-o", user, "-g", group, "/dev/stdin", path)
        self.exec(argv, stdin=data)

    def restart_service(self, unit: str) -> None:
        # Tests restart more often than a unit's start limit has it.
        self.exec(f"systemctl reset-failed {unit}; systemctl restart {unit}")

    def journal(self, *selected: str) -> str:
        """The journal with all that was said up to now: it is told by pipes, which nobody waits for."""
        argv = shlex.join(("journalctl", "--quiet", "--no-pager", *selected))
        # Finding nothing is an answer.
        return self.exec(f"journalctl --sync && {{ {argv} || true; }}").stdout

    def console_tail(self, count: int = 40) -> tuple[str, ...]:
        return self.machine.console_tail(count)

    def reset(self, *, images: bool = False) -> None:
        """As after the first boot: powered, linked, no container, no state of an application.

        Images stay, as they cost time to load; `images` removes them too.
        """
        self.start()
        self.heal()
        self.exec(RESET + ("docker image prune --all --force >/dev/null\n" if images else ""), timeout=300)

    def describe(self) -> dict[str, object]:
        """For the rig's state file."""
        return {
            "name": self.name,
            "suite": self.suite,
            "address": self.address,
            "user": self.user,
            "pid": self.pid if self.running else None,
            "console": str(self.machine.console),
        }

    def _booted(self) -> Container:
        if self._container is None or not self._container.running:
            raise RigError(f"{self.name} is switched off", hint="host.start()")
        return self._container
