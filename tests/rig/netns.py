"""Network namespaces: making them, joining them, opening sockets inside them."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from freehold.process import Runner

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
DIRECTORY = Path("/run/netns")
# The name of the bridge in the namespace that joins the others.
BRIDGE = "br0"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """A named network namespace, as `ip netns` knows it."""

    name: str

    @property
    def path(self) -> Path:
        return DIRECTORY / self.name

    @property
    def exists(self) -> bool:
        return self.path.exists()


def batch(runner: Runner, lines: Iterable[str], namespace: Namespace | None = None) -> None:
    """Several `ip` commands in one process; the first that fails ends it with ProcessError."""
    where = ("-n", namespace.name) if namespace else ()
    runner.run(("ip", *where, "-batch", "-"), stdin="".join(f"{line}\n" for line in lines), timeout=30)


def names(prefix: str) -> tuple[Namespace, ...]:
    """Namespaces whose names begin with `prefix`."""
    if not DIRECTORY.is_dir():
        return ()
    return tuple(Namespace(path.name) for path in sorted(DIRECTORY.iterdir()) if path.name.startswith(prefix))


def processes(namespace: Namespace, runner: Runner) -> tuple[int, ...]:
    """Processes that live in the namespace."""
    done = runner.run(("ip", "netns", "pids", namespace.name), check=False, timeout=30)
    return tuple(int(word) for word in done.stdout.split())


@contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """The calling thread is in the namespace while the block runs; other threads are not."""
    with Path("/proc/thread-self/ns/net").open() as own, namespace.path.open() as target:
        _setns(target.fileno())
        try:
            yield
        finally:
            _setns(own.fileno())


def _setns(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def call(namespace: Namespace, function: Callable[..., T], *args: object) -> T:
    """`function(*args)` in a thread of its own that is inside the namespace."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            with inside(namespace):
                results.append(function(*args))
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=body, name=f"in {namespace.name}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def connect(namespace: Namespace, address: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection from inside the namespace. A socket stays where it was made, whoever uses it."""
    with inside(namespace):
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    stream.settimeout(timeout)
    try:
        stream.connect((address, port))
    except BaseException:
        stream.close()
        raise
    return stream
