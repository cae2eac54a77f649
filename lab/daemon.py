"""A libvirt to talk to: the one that runs, or a private one that belongs to the lab.

The private daemon is libvirt's unprivileged one, with all its directories below the lab's runtime
directory. Root gets the same: in a user namespace that maps root to another number, libvirt takes
itself for an ordinary user's and leaves the system's own libvirt, its sockets and cgroups alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from freehold.environment import SYSTEM_PATH, which
from freehold.errors import LabError, UsageError
from freehold.files import new_private_dir, write_atomic
from freehold.paths import cache_dir
from freehold.process import Runner
from lab import virt
from lab.usernet import install_passt

PROGRAMS = {"virtqemud": "virtqemud-sock", "libvirtd": "libvirt-sock"}
# Without a machine and without a client it ends by itself: nothing is left when a lab is forgotten.
IDLE = 300
STARTING = 20.0
STOPPING = 10.0

# The longest path of a Unix socket, and what libvirt puts behind its configuration directory for a
# machine's monitor: `/libvirt/qemu/lib/domain-<id>-<20 letters of the name>/monitor.sock`.
UNIX_PATH = 107
MONITOR = 64

QEMU_CONF = """\
# The console goes straight to its file: virtlogd would be one more daemon.
stdio_handler = "file"
security_driver = "none"
"""


@dataclass(frozen=True)
class Connection:
    """Where to connect; `private` where the lab has to start and end it."""

    uri: str
    private: bool

    @property
    def as_root(self) -> bool:
        """Whether this is a privileged libvirt, which would run QEMU as another user."""
        return "/system" in self.uri


def find(runtime: Path, *, uri: str, environ: Mapping[str, str]) -> Connection:
    """The libvirt for a lab: `uri`, else one that answers already, else a private one."""
    if uri:
        return Connection(check_uri(uri), False)
    shared = answering(environ)
    return shared or Connection(f"qemu+unix:///session?socket={_socket(runtime)}", True)


def answering(environ: Mapping[str, str]) -> Connection | None:
    """The libvirt of this computer that answers already, or None.

    It is looked for where libvirt puts its sockets; nothing is started by looking.
    """
    if os.geteuid() == 0:
        folder, known = Path("/run/libvirt"), "qemu:///system"
    else:
        base = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        folder, known = Path(base) / "libvirt", "qemu:///session"
    if any(_listening(folder / name) for name in PROGRAMS.values()) and virt.answers(known):
        return Connection(known, False)
    return None


def check_uri(uri: str) -> str:
    """`uri`, or UsageError unless it names a QEMU libvirt that a lab can use."""
    parts = urlsplit(uri)
    driver, _, transport = parts.scheme.partition("+")
    if driver != "qemu" or parts.path not in ("/system", "/session"):
        raise UsageError(
            f"{uri} is no libvirt that runs a lab", hint="write qemu:///system or qemu:///session"
        )
    if bool(parts.hostname) != (transport == "ssh") or (parts.hostname and parts.path != "/system"):
        raise UsageError(
            f"{uri} does not lead to a lab on another computer",
            hint="its machines are reached by ssh: write qemu+ssh://USER@HOST/system",
        )
    return uri


def _listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _program() -> tuple[Path, str]:
    for name, sock in PROGRAMS.items():
        found = which(name)
        if found is not None:
            return found, sock
    raise LabError(
        "no libvirt daemon is installed (virtqemud or libvirtd)",
        hint="`make setup` installs what Freehold needs",
    )


def _home(runtime: Path) -> Path:
    return runtime / "virt"


def _config(runtime: Path) -> Path:
    return runtime / "c"


def _socket(runtime: Path) -> Path:
    return _home(runtime) / "run" / "libvirt" / _program()[1]


def _pid_file(runtime: Path) -> Path:
    return _home(runtime) / "daemon.pid"


def running_pid(runtime: Path) -> int | None:
    """The private daemon's process, or None (also where its number is another program's now)."""
    path = _pid_file(runtime)
    try:
        pid = int(path.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(path).encode() in words else None


def ensure(runtime: Path, runner: Runner) -> None:
    """Start the lab's private daemon unless it runs; returns when it answers."""
    program, _ = _program()
    if running_pid(runtime) is not None and _listening(_socket(runtime)):
        return
    home = new_private_dir(_home(runtime))
    config = new_private_dir(_config(runtime))
    if len(str(config)) + MONITOR > UNIX_PATH:
        raise LabError(
            f"{runtime} is too long: libvirt puts Unix sockets below it",
            hint=f"set FREEHOLD_RUNTIME to a path of at most {UNIX_PATH - MONITOR - 13} letters",
        )
    write_atomic(config / "libvirt" / "qemu.conf", QEMU_CONF)
    install_passt(home / "bin")
    env = {
        "PATH": f"{home / 'bin'}:{os.environ.get('PATH', '')}:{SYSTEM_PATH}",
        "XDG_RUNTIME_DIR": str(new_private_dir(home / "run")),
        "XDG_CONFIG_HOME": str(config),
        # What QEMU can do takes seconds to ask; all labs share the answer.
        "XDG_CACHE_HOME": str(new_private_dir(cache_dir() / "lab")),
        "XDG_DATA_HOME": str(new_private_dir(home / "data")),
    }
    log = home / "daemon.log"
    prefix = (
        ("unshare", "--user", f"--map-user={user}", f"--map-group={user}")
        if os.geteuid() == 0 and (user := _somebody()) is not None
        else ()
    )
    started = runner.start(
        [*prefix, program, "--timeout", str(IDLE), "--pid-file", _pid_file(runtime)],
        cwd=home,
        env=env,
        stdout=log,
        detach=True,
    )
    deadline = time.monotonic() + STARTING
    while not _listening(_socket(runtime)):
        code = started.poll()
        if code is not None or time.monotonic() > deadline:
            what = f"ended with exit code {code}" if code is not None else f"did not answer in {STARTING:g} s"
            raise LabError(
                f"{program.name} {what}", details=log.read_text(errors="replace").splitlines()[-10:]
            )
        time.sleep(0.05)


def _somebody() -> int | None:
    """Whom root becomes in the daemon's namespace, so that it serves a session and not the system.

    Any user but root will do, if there is one of this number: libvirt crashes where it finds no name for it.
    """
    return next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), None)


def end(runtime: Path) -> None:
    """End the private daemon and remove all it wrote. Its machines have to be gone before."""
    pid = running_pid(runtime)
    if pid is not None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            _signal(pid, sign)
            if _gone(runtime, STOPPING):
                break
        else:
            raise LabError(f"the private libvirt daemon {pid} does not end", hint=f"end it: kill -9 {pid}")
    for folder in (_home(runtime), _config(runtime)):
        shutil.rmtree(folder, ignore_errors=True)


def _signal(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


def _gone(runtime: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if running_pid(runtime) is None:
            return True
        time.sleep(0.05)
    return False
