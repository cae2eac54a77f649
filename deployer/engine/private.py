"""A Docker Engine of our own: no bridge, no firewall rules, its own storage and socket.

It builds images and nothing else. Everybody who uses it holds a shared lock on `users`; whoever
leaves and can take that lock alone is the last one and ends the engine. A killed user's lock goes
with its process, so the next one finds an engine that still runs, or a stale pid file, and says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deployer.engine.engine import Engine, ask
from deployer.engine.rootless import rootless_argv
from freehold.console import Console
from freehold.errors import BuildError, DeadlineError
from freehold.files import new_private_dir, write_atomic
from freehold.process import Runner, Started

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOG_LIMIT = 1_000_000


def dockerd_argv(data: Path, run: Path) -> tuple[str, ...]:
    """The daemon's command line: it neither makes a bridge nor touches a firewall or forwarding."""
    return (
        "dockerd",
        f"--host=unix://{run / 'docker.sock'}",
        f"--data-root={data / 'data'}",
        f"--exec-root={run / 'exec'}",
        f"--pidfile={run / 'docker.pid'}",
        # The system's own file may set what stands here already, and dockerd refuses both.
        f"--config-file={run / 'daemon.json'}",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-masq=false",
        "--ip-forward=false",
    )


FOLLOWED = ("insecure-registries", "registry-mirrors")
"""What the private engine takes over from the engine's file of this computer."""


def followed(text: str) -> dict[str, object]:
    """The settings about registries in a daemon.json; nothing of a file that is no JSON."""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return {key: found[key] for key in FOLLOWED if key in found}
    return {}


class PrivateEngine:
    """The engine that keeps its storage below `data` and its socket and pid file below `run`.

    `settings` are the files of this computer's own engine; the first that exists says which mirrors
    and which registries without TLS there are.
    """

    def __init__(
        self,
        data: Path,
        run: Path,
        runner: Runner,
        console: Console,
        *,
        settings: Sequence[Path] = (),
        rootless: bool = False,
    ) -> None:
        self._settings = tuple(settings)
        self.data = data
        self.rootless = rootless
        self.run = self._own_run = run
        self._runner = runner
        self._console = console

    @property
    def host(self) -> str:
        """DOCKER_HOST of the engine."""
        return f"unix://{self.run / 'docker.sock'}"

    @property
    def log(self) -> Path:
        """What the daemon prints."""
        return self.data / "dockerd.log"

    @contextmanager
    def share(self) -> Iterator[Engine]:
        """Use the engine: started where it does not run, ended when the last user leaves."""
        new_private_dir(self.run.parent)
        new_private_dir(self.run)
        new_private_dir(self.data)
        # The locks lie beside the storage, which no two engines may open, wherever their sockets are.
        users = os.open(self.data / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._gate():
                fcntl.flock(users, fcntl.LOCK_SH)
                engine = self._ensure()
            yield engine
        finally:
            self._leave(users)

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Starting and ending exclude each other."""
        gate = os.open(self.data / "gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + START_SECONDS + STOP_SECONDS
            while True:
                try:
                    fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DeadlineError(
                            "another Freehold has been starting the private Docker Engine for too long",
                            hint=f"see {self.log}",
                        ) from None
                    time.sleep(0.1)
            yield
        finally:
            os.close(gate)

    def _leave(self, users: int) -> None:
        try:
            with self._gate():
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._end()
        finally:
            os.close(users)

    def _ensure(self) -> Engine:
        with suppress(OSError):
            # Another user with another runtime directory may have started it.
            self.run = Path((self.data / "run").read_text())
            if self.pid() is None:
                self._end()
                self.run = self._own_run
        pid = self.pid()
        if pid is not None:
            with suppress(BuildError):
                # Busy with another build it may take its time, and ending it would break that one.
                return ask(self._runner, host=self.host, private=True, timeout=60)
            self._console.warn(f"ending a private Docker Engine that does not answer (pid {pid})")
        self._end()
        return self._start()

    def _start(self) -> Engine:
        # dockerd refuses to start over a pid file whose number some other process has by now.
        for name in ("docker.pid", "docker.sock"):
            (self.run / name).unlink(missing_ok=True)
        own = next((path for path in self._settings if path.is_file()), None)
        configured = followed(own.read_text(errors="replace")) if own is not None else {}
        write_atomic(self.run / "daemon.json", json.dumps(configured) + "\n")
        write_atomic(self.data / "run", str(self.run))
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.unlink()
        self._console.detail("no Docker Engine runs here: starting a private one")
        argv = dockerd_argv(self.data, self.run)
        argv = rootless_argv(argv, self.run) if self.rootless else argv
        started = self._runner.start(argv, stdout=self.log, detach=True)
        deadline = time.monotonic() + START_SECONDS
        try:
            while time.monotonic() < deadline:
                if started.poll() is not None:
                    break
                if (self.run / "docker.sock").exists():
                    with suppress(BuildError):
                        return ask(self._runner, host=self.host, private=True)
                time.sleep(0.05)
        except BaseException:
            started.stop(STOP_SECONDS)
            raise
        raise self._failed(started)

    def _failed(self, started: Started) -> BuildError:
        code = started.poll()
        story = (
            f"ended with exit code {code}" if code is not None else f"did not answer in {START_SECONDS:g} s"
        )
        started.stop(STOP_SECONDS)
        tail = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        return BuildError(f"the private Docker Engine {story}", details=tail, hint=f"see {self.log}")

    def pid(self) -> int | None:
        """The daemon's process id, or None. A number that another program has by now is not ours."""
        try:
            pid = int((self.run / "docker.pid").read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if f"--pidfile={self.run / 'docker.pid'}".encode() in argv else None

    def _end(self) -> None:
        pid = self.pid()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if pid is None:
                break
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
            deadline = time.monotonic() + STOP_SECONDS
            while self._alive(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            pid = self.pid() if self._alive(pid) else None
        self._unmount()

    @staticmethod
    def _alive(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return False
        if state == "Z":
            # Ours to reap where we started it; another user's engine belongs to whoever that was.
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            return False
        return True

    def _unmount(self) -> None:
        """A killed daemon leaves mounts below its directories; nothing else mounts there."""
        roots = (f"{self.data}/", f"{self.run}/")
        points = [
            line.split()[4].replace("\\040", " ")
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ]
        for point in sorted((p for p in points if p.startswith(roots)), reverse=True):
            done = self._runner.run(("umount", "--lazy", point), check=False)
            if done.returncode != 0:
                self._console.warn(f"{point} is still mounted: {done.stderr.strip()}")
                return
        shutil.rmtree(self.run / "exec", ignore_errors=True)
