"""A rig from its first namespace to its last: hosts, the operator, the wires between them."""

from __future__ import annotations

import ipaddress
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, TextIO, TypeVar

from freehold.console import Console
from freehold.errors import ProcessError
from freehold.files import write_atomic
from freehold.process import Argument, Completed, Runner, Started, paste
from freehold.secret import Secret
from tests.rig import identity, netns, request, slot, slowline, sweep, tree
from tests.rig.control import Operator
from tests.rig.errors import RigError
from tests.rig.host import Host, HostSpec
from tests.rig.limits import raise_limits
from tests.rig.needs import missing
from tests.rig.nspawn import Machine

if TYPE_CHECKING:
    import socket

T = TypeVar("T")
FIRST_HOST = 10
CONTROL = 2


class Rig:
    """A small internet of real hosts. Leaving the `with` block removes all of it."""

    def __init__(self, *, runner: Runner, console: Console, root: Path | None = None) -> None:
        self._runner = runner
        self._console = console
        self._root = root or slot.default_root()
        self._hosts: dict[str, Host] = {}
        self._count = -1
        self._lock: TextIO | None = None

    def __enter__(self) -> Rig:
        reasons = missing()
        if reasons:
            raise RigError(
                "no rig can run here: " + "; ".join(reasons), hint="`make setup` installs programs"
            )
        for text in sweep.gc(self._runner):
            self._console.detail(text)
        self._slot, self._lock = slot.take(self._root)
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Power off by pulling the plug, then remove everything."""
        if self._lock is None:
            return
        try:
            sweep.clear(self._slot, self._runner)
        finally:
            self._lock.close()
            self._lock = None

    def _make(self) -> None:
        raise_limits()
        directory = self._slot.directory
        if directory.exists():
            # Of a run before the machine's last boot; there is nothing else of it.
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700, parents=True)
        if self._runner.run(("stat", "-f", "-c", "%T", directory)).stdout.strip() == "overlayfs":
            # Inside a container of its own: no overlay's upper directory may lie on an overlay.
            self._runner.run(("mount", "-t", "tmpfs", "-o", "mode=700", "rig", directory))
        self.hub = netns.Namespace(f"{self._slot.prefix}hub")
        self.control = netns.Namespace(f"{self._slot.prefix}control")
        self._operator = Operator(directory / "home", self.control, identity.make_key())
        self._operator.make()
        netns.batch(
            self._runner,
            [
                f"netns add {self.hub.name}",
                f"netns add {self.control.name}",
                f"link add eth0 netns {self.control.name} type veth peer name control netns {self.hub.name}",
            ],
        )
        netns.batch(
            self._runner,
            [
                f"link add {netns.BRIDGE} type bridge",
                f"link set control master {netns.BRIDGE}",
                f"link set {netns.BRIDGE} up",
                "link set control up",
                "link set lo up",
            ],
            self.hub,
        )
        netns.batch(
            self._runner,
            [
                "link set lo up",
                f"addr add {self._slot.address(CONTROL)}/{self.subnet.prefixlen} dev eth0",
                "link set eth0 up",
            ],
            self.control,
        )
        self._save()

    @property
    def number(self) -> int:
        return self._slot.number

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self._slot.subnet)

    @property
    def home(self) -> Path:
        """HOME of the operator: `.ssh/config`, `.ssh/known_hosts`, `.ssh/id_ed25519`."""
        return self._operator.home

    @property
    def enter(self) -> Path:
        """A program that runs its arguments as the operator."""
        return self._operator.enter

    @property
    def hosts(self) -> tuple[Host, ...]:
        return tuple(self._hosts.values())

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def boot(self, *specs: HostSpec, files: Mapping[str, str] | None = None) -> tuple[Host, ...]:
        """Boot hosts side by side; returns when all run. Raises BootFailed with the console's tail.

        `files`: path to text, laid over the root of each before it boots.
        """
        trees = {spec: self._tree(spec) for spec in specs}
        hosts = [self._add(spec, trees[spec]) for spec in specs]
        self._operator.know(self.hosts)
        for host in hosts:
            self._identify(host, files or {})
        with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
            for outcome in [pool.submit(host.start) for host in hosts]:
                outcome.result()
        self._save()
        return tuple(hosts)

    def _tree(self, spec: HostSpec) -> Path:
        source = tree.plain if spec.plain else tree.golden
        return source(spec.suite, runner=self._runner, console=self._console)

    def _add(self, spec: HostSpec, root: Path) -> Host:
        if spec.name in self._hosts:
            raise RigError(f"the rig has a host {spec.name} already")
        self._count += 1
        last = FIRST_HOST + self._count
        name = f"{self._slot.prefix}{spec.name}"
        machine = Machine(
            name=name,
            hostname=spec.name,
            tree=root,
            directory=self._slot.directory / "hosts" / spec.name,
            namespace=netns.Namespace(name),
        )
        host = Host(
            spec,
            machine,
            address=self._slot.address(last),
            host_key=identity.make_key(),
            hub=self.hub,
            ssh_config=self._operator.outside_config,
            port=f"host{last}",
            mac=f"02:c6:12:00:{self.number:02x}:{last:02x}",
            runner=self._runner,
            changed=self._save,
        )
        self._hosts[spec.name] = host
        return host

    def remove(self, name: str) -> None:
        """Take a host out of the rig, with its disk."""
        host = self._hosts.pop(name)
        host.kill()
        host.machine.remove()
        self._operator.know(self.hosts)
        self._save()

    def _identify(self, host: Host, files: Mapping[str, str]) -> None:
        machine = host.machine
        machine.prepare()
        users = ("root",) if host.spec.plain else ("deploy",)
        addresses = {other.name: other.address for other in self.hosts}
        placed = identity.files(
            host.name,
            f"{host.address}/{self.subnet.prefixlen}",
            host.host_key,
            self._operator.key.public,
            users,
            addresses,
        )
        placed |= {path: identity.File(text.encode()) for path, text in files.items()}
        for path, file in placed.items():
            identity.place(machine.tree, machine.upper, path, file)

    # As the operator

    def control_run(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | str | BinaryIO | None = None,
        timeout: float | None = 120,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a program in the operator's namespace, with the operator's home and SSH files."""
        command = (self.enter, *argv)
        try:
            return self._runner.run(
                command, cwd=cwd, env=env, stdin=stdin, timeout=timeout, check=check, on_line=on_line
            )
        except ProcessError as exc:
            exc.add_note("\n".join((f"as the operator: {paste(argv)}", *exc.details)))
            raise

    def control_start(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        stdin: bytes | None = None,
        stdout: Path | None = None,
    ) -> Started:
        """As `control_run`, in the background."""
        return self._runner.start((self.enter, *argv), cwd=cwd, env=env, stdin=stdin, stdout=stdout)

    def control_call(self, function: Callable[..., T], *args: object) -> T:
        """`function(*args)` in a thread that is inside the operator's namespace."""
        return netns.call(self.control, function, *args)

    def control_connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        """A TCP connection from the operator's namespace."""
        return netns.connect(self.control, address, port, timeout)

    def http(
        self,
        target: str | Host,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        port: int = 80,
        timeout: float = 60,
        host: str | None = None,
    ) -> request.Response:
        """One request from the operator's namespace to a host or an address; `host`: the Host header."""
        address = target.address if isinstance(target, Host) else target
        named = {"Host": host} if host else {}
        return request.request(
            self.control,
            address,
            path,
            method=method,
            headers={**named, **(headers or {})},
            body=body,
            port=port,
            timeout=timeout,
        )

    @contextmanager
    def latency(self, milliseconds: float) -> Iterator[None]:
        """Add so much round-trip time between the operator and every host while the block runs."""
        with slowline.slowed(self._runner, self.hub, self.control, self._slot.directory, milliseconds):
            yield

    def _save(self) -> None:
        state = {
            "number": self.number,
            "subnet": str(self.subnet),
            "home": str(self.home),
            "enter": str(self.enter),
            "control": self.control.name,
            "hosts": [host.describe() for host in self.hosts],
        }
        write_atomic(self._slot.state_path, json.dumps(state, indent=2) + "\n")
