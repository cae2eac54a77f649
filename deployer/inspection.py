"""Hosts as testinfra sees them: over the same connections as everything else, as root."""

from __future__ import annotations

import shlex
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from cloudinit.checks import CheckedHost
from deployer.become import Become
from deployer.remote import Remote

DEADLINE = 300.0


class _Connection(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """What testinfra runs goes over our connection; a password of sudo's travels on standard input."""

    NAME = "freehold"

    def __init__(self, remote: Remote, become: Become) -> None:
        super().__init__(remote.name)
        self._remote, self._become = remote, become

    def run(self, command: str, *args: str, **_options: Any) -> CommandResult:
        """Run a shell command as root."""
        words = self._become.command(f"bash -c {shlex.quote(self.quote(command, *args))}")
        done = self._remote.exec(words, stdin=self._become.head.encode(), timeout=DEADLINE)
        return self.result(done.returncode, words.encode(), done.stdout, done.stderr)


def testinfra_host(remote: Remote, become: Become) -> CheckedHost:
    """The testinfra host behind a connection."""
    host: CheckedHost = Host(_Connection(remote, become))
    return host
