"""One libvirt at a time, with a limit to how long it may be silent: for what must end, like `lab down`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from freehold.errors import LabError, ProcessError
from freehold.process import Runner
from lab.tunnel import ssh_words
from lab.virt import Virt
from lab.within import within

T = TypeVar("T")

# Seconds until a computer has to take a connection, and until a libvirt has done what it was asked for.
CONNECTING = 15
ANSWERING = 30.0
WORKING = 300.0


def at(uri: str, work: Callable[[Virt], T], *, runner: Runner) -> T:
    """What `work` returns for the libvirt at `uri`; LabError or DeadlineError where that does not answer."""
    if urlsplit(uri).hostname:
        _knock(uri, runner)
    virt = within(ANSWERING, lambda: Virt(uri), doing=f"libvirt at {uri}")

    def whole() -> T:
        with virt:
            return work(virt)

    return within(WORKING, whole, doing=f"libvirt at {uri}")


def _knock(uri: str, runner: Runner) -> None:
    """LabError where ssh finds no way there: libvirt itself would wait for minutes."""
    words, host = ssh_words(uri)
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECTING}"]
    try:
        done = runner.run([*words, *options, "-T", host, "true"], check=False, timeout=2 * CONNECTING)
    except ProcessError as exc:
        raise LabError(f"{uri} cannot be reached: {exc.message}") from exc
    # 255 is ssh's own; anything else was said over there, where `true` may be forbidden.
    if done.returncode == 255:
        said = done.stderr.strip().splitlines()
        raise LabError(f"{uri} cannot be reached: {said[-1] if said else 'ssh failed'}")
