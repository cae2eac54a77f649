"""One container that boots a whole system: starting it, joining it, ending it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import ProcessTimeout
from freehold.process import Runner, Started
from tests.rig.cgroup import Group
from tests.rig.errors import BootFailed
from tests.rig.netns import Namespace

# systemd(1): SIGRTMIN+4 powers off.
POWER_OFF = signal.SIGRTMIN + 4
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|[\r\x07]")

# The overlay is mounted in a mount namespace that ends with the container: a killed owner leaves none behind.
LAUNCH = """\
set -eu
echo 0 > "$1/cgroup.procs"
mount -t overlay -o "lowerdir=$2,upperdir=$3,workdir=$4" overlay "$5"
shift 5
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """Everything that stays the same from boot to boot. `directory` belongs to this machine alone."""

    name: str
    hostname: str
    tree: Path
    directory: Path
    namespace: Namespace

    @property
    def upper(self) -> Path:
        return self.directory / "upper"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def group(self) -> Group:
        return Group(f"freehold-rig.{self.name}")

    def prepare(self) -> None:
        """Make the directories: overlay, and Docker's own storage (no overlay lies on an overlay)."""
        for name in ("upper", "work", "root", "docker", "containerd"):
            (self.directory / name).mkdir(parents=True)
        self.upper.chmod(0o755)
        (self.directory / "docker").chmod(0o710)

    def argv(self) -> tuple[str, ...]:
        """The command that boots it, in the foreground."""
        return (
            *("unshare", "--mount", "--propagation", "slave", "bash", "-c", LAUNCH, "launch"),
            str(self.group.path),
            *(
                str(path)
                for path in (self.tree, self.upper, self.directory / "work", self.directory / "root")
            ),
            "systemd-nspawn",
            f"--directory={self.directory / 'root'}",
            f"--machine={self.name}",
            f"--hostname={self.hostname}",
            "--settings=no",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            f"--network-namespace-path={self.namespace.path}",
            f"--bind={self.directory / 'docker'}:/var/lib/docker",
            f"--bind={self.directory / 'containerd'}:/var/lib/containerd",
            "--capability=all",
            "--system-call-filter=@keyring bpf",
            "--boot",
        )

    def console_tail(self, count: int = 40) -> tuple[str, ...]:
        """The last lines of the console, without terminal escapes."""
        if not self.console.exists():
            return ()
        text = ESCAPES.sub("", self.console.read_text(errors="replace"))
        return tuple(line for line in text.splitlines() if line.strip())[-count:]

    def remove(self) -> None:
        self.group.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Container:
    """A booted machine, from power on to power off."""

    def __init__(self, machine: Machine, runner: Runner) -> None:
        self.machine = machine
        self._runner = runner
        machine.group.make()
        self._process: Started = runner.start(
            machine.argv(),
            # `network`: its /proc/sys/net is its own; everything else below /proc/sys is this machine's.
            env={"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdout=machine.console,
            detach=True,
        )
        self._leader: int | None = None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def leader(self) -> int | None:
        """The host's PID 1 as this machine sees it; None until it exists."""
        if self._leader is None and self.running:
            self._leader = find_leader(self.pid)
        return self._leader if self.running else None

    def enter(self, *argv: str) -> tuple[str, ...]:
        """A command line that runs `argv` inside, as root, with nothing of our environment."""
        return enter(self.require_leader(), *argv)

    def require_leader(self) -> int:
        """The leader; BootFailed where there is none."""
        leader = self.leader
        if leader is None:
            raise BootFailed(self.machine.hostname, "it is not running", self.machine.console_tail())
        return leader

    def wait_running(self, deadline: float) -> None:
        """Until systemd says "running". Raises BootFailed with the console's tail; seconds."""
        end = time.monotonic() + deadline
        state = "not started"
        while time.monotonic() < end:
            if not self.running:
                self._fail(f"it ended while booting (exit code {self._process.poll()})")
            if self.leader is not None:
                argv = self.enter("systemctl", "is-system-running", "--wait")
                try:
                    done = self._runner.run(argv, check=False, timeout=max(0.1, end - time.monotonic()))
                except ProcessTimeout:
                    break
                state = done.stdout.strip() or state
                if state == "running":
                    return
                if state == "degraded":
                    self._fail("units failed: " + self._failed_units())
            time.sleep(0.05)
        self._fail(f"not running after {deadline:g} s; systemd says {state}; waiting: {self._jobs()}")

    def _failed_units(self) -> str:
        script = (
            "for unit in $(systemctl list-units --failed --plain --no-legend | cut -d' ' -f1); do "
            'echo "$unit"; journalctl --sync; journalctl -b --no-pager -n 12 -o cat -u "$unit"; done'
        )
        return self._runner.run(self.enter("sh", "-c", script), check=False, timeout=120).stdout.strip()

    def _jobs(self) -> str:
        if self.leader is None:
            return "-"
        argv = self.enter("systemctl", "list-jobs", "--no-legend")
        with suppress(ProcessTimeout):
            return self._runner.run(argv, check=False, timeout=60).stdout.strip() or "-"
        return "-"

    def _fail(self, message: str) -> None:
        raise BootFailed(self.machine.hostname, message, self.machine.console_tail())

    def power_off(self, deadline: float) -> None:
        """Shut down in order; after `deadline` seconds pull the plug."""
        leader = self.leader
        if leader is not None:
            with suppress(ProcessLookupError):
                os.kill(leader, POWER_OFF)
            with suppress(ProcessTimeout):
                self._process.wait(deadline)
        self.power_cut()

    def power_cut(self) -> None:
        """Every process ends at one instant, as when the plug is pulled."""
        self.machine.group.kill()
        self._process.wait(120)


def enter(leader: int, *argv: str) -> tuple[str, ...]:
    """`argv` in all of the namespaces of `leader`."""
    environment = (
        "env",
        "-i",
        "HOME=/root",
        "LANG=C.UTF-8",
        "TERM=dumb",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )
    spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
    return ("nsenter", "--target", str(leader), *spaces, "--", *environment, *argv)


def find_leader(supervisor: int) -> int | None:
    """The child of systemd-nspawn that is PID 1 of a namespace one level down."""
    try:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        for child in children:
            for line in Path(f"/proc/{child}/status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                    return int(child)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None
