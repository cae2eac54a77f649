"""Becoming root on a host: as root itself, by sudo, or by sudo with a password that travels on stdin."""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deployer.remote import Remote
from freehold.errors import HostError
from freehold.secret import Secret

PASSWORD_VARIABLE = "FREEHOLD_SUDO_PASSWORD"
TRIES = 3
_MARK = "@@freehold-root"
# `sudo -k` forgets what it was told before, so that the first line is always the password. Where it is
# not (a rule that asks for none), the mark is not the second line, and nothing runs.
_GUARD = f'read -r mark && [ "$mark" = {_MARK} ] || exit 97; exec '

Way = Literal["root", "sudo", "password", "none"]


@dataclass(frozen=True)
class Become:
    """How a command becomes root. `head` goes ahead of the command's own standard input."""

    sudo: bool = False
    password: Secret | None = None

    def command(self, words: str) -> str:
        """`words`, one simple command of the shell's, run by root."""
        if not self.sudo:
            return words
        if self.password is None:
            return f"sudo -n -- {words}"
        return f"sudo -k -S -p '' -- sh -c {shlex.quote(_GUARD + words)}"

    @property
    def head(self) -> str:
        """What the command reads first."""
        return "" if self.password is None else f"{self.password.reveal()}\n{_MARK}\n"


def root_on(remote: Remote, way: Way, environ: Mapping[str, str], known: list[Secret]) -> Become:
    """How to become root on a host that was looked at.

    A password is one that another host took (`known` gathers them), the variable's, or asked for on the
    terminal. HostError where none is right.
    """
    if way == "root":
        return Become()
    if way == "sudo":
        return Become(sudo=True)
    if way == "none":
        raise HostError(
            "neither root nor a user who may use sudo",
            host=remote.name,
            step="bootstrap",
            hint="set `ssh.user` to root, or install sudo and give the user a rule in sudoers",
        )
    said = ""
    given = environ.get(PASSWORD_VARIABLE)
    for password in [*known, *([Secret(given)] if given else [])]:
        said = _refusal(remote, password)
        if not said:
            return _accepted(password, known)
    for _ in range(0 if given else TRIES):
        asked = _ask(f"[sudo] password for {remote.endpoint.user} on {remote.name}: ")
        if asked is None:
            raise HostError(
                "sudo asks for a password",
                host=remote.name,
                step="bootstrap",
                hint=f"run it on a terminal, set {PASSWORD_VARIABLE}, or give the user NOPASSWD in sudoers",
            )
        said = _refusal(remote, asked)
        if not said:
            return _accepted(asked, known)
    raise HostError(
        "sudo does not take the password",
        host=remote.name,
        step="bootstrap",
        hint="the user may also lack a rule in sudoers; root can give one: adduser USER sudo",
        details=[line for line in said.splitlines() if line.strip()],
    )


def _accepted(password: Secret, known: list[Secret]) -> Become:
    if password not in known:
        known.insert(0, password)
    return Become(sudo=True, password=password)


def _refusal(remote: Remote, password: Secret) -> str:
    """What sudo says against a password; empty where it takes it."""
    become = Become(sudo=True, password=password)
    answer = remote.exec(become.command("true"), stdin=become.head.encode(), timeout=60)
    return "" if answer.returncode == 0 else answer.stderr.strip() or "no answer"


def _ask(prompt: str) -> Secret | None:
    """A password from the terminal that runs this command; None without one."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return None
    return Secret(getpass.getpass(prompt))
