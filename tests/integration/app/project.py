"""A project of the operator's that deploys the application to the hosts of a rig with the real command."""

from __future__ import annotations

import difflib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployer.load import Load, LoadPlan
from deployer.load.plan import Target
from freehold.process import Completed, Started
from tests.conftest import program
from tests.integration.app import images
from tests.rig import Host, Rig
from tests.rig.request import Response

DEADLINE = 180.0
STREAM_CHUNKS = 15
CUT = "the connection was closed without an answer"


def basic() -> dict[str, Any]:
    """The configuration that most tests start from."""
    return {
        "service": "shop",
        "image": images.REPOSITORY,
        "servers": {"web": {"hosts": ["web-1", "web-2"]}},
        "proxy": {
            "host": "shop.test",
            "app_port": 8000,
            "healthcheck": {"path": "/up", "interval": 0.3, "timeout": 2},
        },
        "ssh": {"user": "deploy"},
        "env": {"clear": {"GREETING": "hello"}, "secret": ["TOKEN"]},
        # On a busy computer Python takes its time.
        "deploy_timeout": 45,
        "drain_timeout": 4,
        "readiness_delay": 1,
    }


@dataclass
class Project:
    """`config` is what `config/deploy.yml` says once `save` has written it."""

    rig: Rig
    hosts: tuple[Host, ...]
    directory: Path
    config: dict[str, Any] = field(default_factory=basic)
    secrets: dict[str, str] = field(default_factory=lambda: {"TOKEN": "s3cret-of-the-test"})
    environ: dict[str, str] = field(default_factory=dict)
    """What the command finds in its environment besides."""

    def __post_init__(self) -> None:
        self.save()

    def save(self) -> None:
        """Write configuration and secrets."""
        (self.directory / "config").mkdir(exist_ok=True)
        (self.directory / ".freehold").mkdir(exist_ok=True)
        (self.directory / "config" / "deploy.yml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        lines = [f"{name}='{value}'\n" for name, value in self.secrets.items()]
        (self.directory / ".freehold" / "secrets").write_text("".join(lines))

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Nobody waits long for a version that will not be ready."""
        patient = self.config["deploy_timeout"]
        self.config["deploy_timeout"] = 15
        self.save()
        yield
        self.config["deploy_timeout"] = patient
        self.save()

    def image(self, version: str, mode: images.Mode = "ok", *hosts: Host) -> None:
        """Have the image of a version on these hosts (default: all)."""
        chosen = hosts or self.hosts
        with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
            for _ in pool.map(lambda host: images.build(host, version, mode, self.config["image"]), chosen):
                pass

    # The command

    def freehold(self, *words: str, expect: int = 0, timeout: float = 180) -> Completed:
        """Run the command; its exit code has to be `expect`."""
        done = self.rig.control_run(
            (program("freehold"), *words),
            cwd=self.directory,
            env=self.environ,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == expect, f"freehold {' '.join(words)}: {done.returncode}\n{shown(done)}"
        return done

    def start(self, *words: str) -> Started:
        """Run the command in the background; what it prints is in `printed`."""
        return self.rig.control_start(
            (program("freehold"), *words), cwd=self.directory, stdout=self.directory / "out"
        )

    @property
    def printed(self) -> str:
        """What the command in the background has printed so far."""
        return (self.directory / "out").read_text()

    def deploy(self, version: str, *words: str, expect: int = 0, mode: images.Mode = "ok") -> Completed:
        """Have the image on all hosts and deploy it."""
        self.image(version, mode)
        return self.send(version, *words, expect=expect)

    def send(self, version: str, *words: str, expect: int = 0) -> Completed:
        """Deploy a version whose images are as the test has made them."""
        return self.freehold("deploy", "--skip-push", "--version", version, *words, expect=expect)

    def rollback(self, *words: str, expect: int = 0) -> Completed:
        return self.freehold("rollback", *words, expect=expect)

    def result(self, done: Completed) -> Mapping[str, Any]:
        """What `--json` printed."""
        found: Mapping[str, Any] = json.loads(done.stdout)
        return found

    # The application

    def ask(self, host: Host, path: str = "/version", name: str = "shop.test", **more: Any) -> Response:
        """One request."""
        return self.rig.http(host, path, host=name, **more)

    def answers(self, host: Host) -> bool:
        """Whether the proxy of a host says anything at all."""
        try:
            return bool(self.ask(host).status)
        except OSError:
            return False

    def serving(self) -> tuple[str, ...]:
        """Which version each host serves."""
        answers = [self.ask(host) for host in self.hosts]
        return tuple(a.text.strip() if a.status == 200 else f"status {a.status}" for a in answers)

    def answered(self) -> tuple[str, ...]:
        """The same; nothing while one of them does not answer."""
        try:
            return self.serving()
        except OSError:
            return ()

    def environment(self, host: Host) -> Mapping[str, str]:
        """The environment of the container that serves."""
        found: Mapping[str, str] = self.ask(host, "/environment").json()
        return found

    def containers(self, host: Host, *, everything: bool = True) -> dict[str, str]:
        """Names and states of the application's containers."""
        flags = "--all" if everything else ""
        listed = host.exec(
            f"docker ps {flags} --filter label=service={self.config['service']} "
            "--format '{{.Names}} {{.State}}'"
        ).stdout
        return dict(line.split() for line in listed.splitlines())

    def settled(self, version: str) -> bool:
        """Every host serves the version and runs nothing of another."""
        name = f"shop-web-{version}"
        return self.serving() == (version,) * len(self.hosts) and all(
            list(self.containers(host, everything=False)) == [name] for host in self.hosts
        )

    def same_as(self, before: Mapping[str, Any]) -> None:
        """Assert that every host is as `state` said."""
        for name, after in self.state().items():
            lines = difflib.unified_diff(before[name].splitlines(), after.splitlines(), "before", name, n=0)
            assert after == before[name], "\n".join(lines)

    def state(self) -> dict[str, Any]:
        """What a failed deploy has to leave untouched on each host."""
        app = "/var/lib/freehold/apps/shop"
        look = f"""cd /var/lib/freehold/proxy
for path in targets/* sites/* routes/*/*; do echo "$path $(cksum <"$path")"; done
cat {app}/history
find {app} -path '*/versions/*' -type f -printf '%m %P ' -exec cksum {{}} ';'
docker ps --all --filter label=service=shop --format '{{{{.ID}}}} {{{{.Names}}}} {{{{.State}}}}' | sort"""
        return {host.name: host.exec(look).stdout for host in self.hosts}

    # Traffic

    @contextmanager
    def traffic(self, *, reloads: int = 0, **plan: Any) -> Iterator[Traffic]:
        """Constant load on every host while the block runs; afterwards nothing may have failed.

        Where proxies reload (`reloads`, over all hosts), each may close connections that it accepted in that
        instant before it has read the request; clients ask again then. The load has three kinds of them.
        """
        traffic = Traffic(self, plan)
        try:
            traffic.start()
            yield traffic
        finally:
            traffic.stop()
        cut = [text for text in traffic.failures if text.endswith(CUT)]
        assert set(traffic.failures) == set(cut) and len(cut) <= 3 * reloads, traffic.failures
        assert traffic.load.report().served > 0

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that comes by itself."""
        end = time.monotonic() + DEADLINE
        while not _holds(condition):
            assert time.monotonic() < end, f"waited in vain: {what}"
            time.sleep(0.05)


def _holds(condition: Callable[[], bool]) -> bool:
    """Whether it does; not yet while a host does not answer."""
    try:
        return condition()
    except (OSError, http.client.HTTPException):
        return False


class Traffic:
    """Requests on kept and fresh connections, slow ones, WebSockets, and streams one after the other."""

    def __init__(self, project: Project, plan: Mapping[str, Any]) -> None:
        self.project = project
        targets = [Target(host.name, host.address, 80, "shop.test") for host in project.hosts]
        settings: dict[str, Any] = {"rate": 15.0, "slow_every": 15, "slow_seconds": 1.0, **plan}
        self.load = Load(LoadPlan(targets=targets, **settings))
        self.streams = 0
        self._broken: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._stream, args=(host,)) for host in project.hosts]

    def start(self) -> None:
        """Begin, and wait until each kind has been seen."""
        self.project.rig.control_call(self.load.start)
        for thread in self._threads:
            thread.start()
        self.seen(10)
        if self.load.plan.websocket:
            least = 2 * len(self.project.hosts)
            self.project.until(
                lambda: self.load.report().messages >= least or bool(self.failures), "messages"
            )

    def seen(self, more: int) -> None:
        """Wait until so many more requests have been answered, or another one has failed."""
        goal, failed = self.load.report().served + more, len(self.failures)
        self.project.until(
            lambda: self.load.report().served >= goal or len(self.failures) > failed, f"{more} more answers"
        )

    def stop(self) -> None:
        """End; requests under way are waited for."""
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.load.stop()

    @property
    def failures(self) -> tuple[str, ...]:
        return (*map(str, self.load.report().failures), *self._broken)

    def _stream(self, host: Host) -> None:
        while not self._over.is_set():
            try:
                text = self.project.ask(host, f"/stream?chunks={STREAM_CHUNKS}").text
            except Exception as exc:
                # In the words of the load, by which `traffic` knows what a reload may do.
                cut = isinstance(exc, http.client.RemoteDisconnected)
                self._broken.append(f"{host.name} stream: {CUT if cut else f'{type(exc).__name__}: {exc}'}")
                # One that is refused at once would be asked without rest.
                self._over.wait(0.1)
                continue
            version = text.partition(" ")[0]
            if text != "".join(f"{version} {number}\n" for number in range(STREAM_CHUNKS)):
                self._broken.append(f"{host.name} stream: {text!r}")
            self.streams += 1


def shown(done: Completed) -> str:
    """Both streams of a command that ended."""
    return done.stdout + done.stderr


def squeezed(done: Completed) -> str:
    """Both streams without line breaks, as messages are wrapped for the terminal."""
    return " ".join(shown(done).split())
