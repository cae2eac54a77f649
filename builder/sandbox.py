"""Where root trees are made: a shell that is root in namespaces of its own, on behalf of any user.

As root it gets its own mounts and processes. As another user it also gets a user namespace in which
the user's subordinate ids (`/etc/subuid`) stand for the tree's owners. Nothing that it mounts is seen
outside, and all of it ends with the shell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BuildError, ProcessError
from freehold.process import Completed, Runner

# Prepended to every script. A group-wide SIGTERM must end the shell though it is the namespace's init.
PRELUDE = """\
set -euo pipefail
umask 022
trap 'exit 143' TERM
trap 'exit 130' INT
mount --make-rprivate / 2>/dev/null || true
mount -t proc proc /proc

# overlay LOWER UPPER WORK TARGET: LOWER with UPPER on it, writable, at TARGET.
overlay() {
    mkdir -p "$2" "$3" "$4"
    # volatile (Linux 5.10): what is interrupted is thrown away, so nothing has to wait for the disk.
    local layers="lowerdir=$1,upperdir=$2,workdir=$3$OVERLAY_OPTIONS"
    mount -t overlay overlay -o "$layers,volatile" "$4" 2>/dev/null ||
        mount -t overlay overlay -o "$layers" "$4"
}

# both LOWER UPPER TARGET: the same, read-only.
both() {
    mkdir -p "$3"
    mount -t overlay overlay -o "ro,lowerdir=$2:$1$OVERLAY_OPTIONS" "$3"
}

# enter ROOT: give a tree what programs in it expect of a system.
enter() {
    mount -t proc proc "$1/proc"
    mount -t tmpfs -o mode=755,size=64m tmpfs "$1/dev"
    for node in null zero full random urandom tty; do
        : > "$1/dev/$node"
        mount --bind "/dev/$node" "$1/dev/$node"
    done
    ln -s /proc/self/fd "$1/dev/fd"
    mount -t tmpfs -o mode=755,size=256m tmpfs "$1/run"
    mkdir -p "$1/run/lock"
    mount -t tmpfs -o mode=1777,size=1g tmpfs "$1/tmp"
}

leave() {
    for point in tmp run; do
        umount "$1/$point"
    done
    umount --recursive "$1/dev"
    umount "$1/proc"
}

# inside ROOT COMMAND...: run in the tree, with nothing of this machine's environment.
inside() {
    local root=$1
    shift
    env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
        LANG=C.UTF-8 LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 \\
        SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" chroot "$root" "$@"
}
"""


def argv(privileged: bool) -> tuple[str, ...]:
    """The command that makes the namespaces; a shell command follows it."""
    user = () if privileged else ("--user", "--map-root-user", "--map-auto")
    return ("unshare", *user, "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")


@dataclass(frozen=True)
class Sandbox:
    """Runs scripts as the root of a namespace. `privileged`: this process is root."""

    runner: Runner
    privileged: bool

    @staticmethod
    def here(runner: Runner) -> Sandbox:
        """For the user of this process."""
        return Sandbox(runner, privileged=os.geteuid() == 0)

    @property
    def kind(self) -> str:
        """`root` or `user`: trees of the one are not readable to the other."""
        return "root" if self.privileged else "user"

    def run(
        self,
        script: str,
        *arguments: str | Path,
        epoch: int,
        env: Mapping[str, str] | None = None,
        what: str,
        on_line: Callable[[str], None] | None = None,
        timeout: float | None = 1800,
    ) -> Completed:
        """Run a bash script with `$1…`; BuildError `what` failed, with its last lines."""
        # In a user namespace overlayfs keeps its marks in user.* attributes: trusted.* are out of reach.
        options = "" if self.privileged else ",userxattr"
        environment = {"SOURCE_DATE_EPOCH": str(epoch), "OVERLAY_OPTIONS": options, **(env or {})}
        command = (*argv(self.privileged), "bash", "-c", PRELUDE + script, "sandbox", *arguments)
        try:
            return self.runner.run(command, env=environment, timeout=timeout, on_line=on_line)
        except ProcessError as exc:
            lines = (exc.stderr or exc.stdout).splitlines()
            raise BuildError(
                f"{what} failed", hint=explain(lines) or exc.hint, details=telling(lines) or exc.details
            ) from exc

    def remove(self, path: Path) -> None:
        """Delete a tree, whoever owns what is in it."""
        self.run('rm -rf --one-file-system -- "$1"', path, epoch=0, what=f"removing {path}")


# What a line of output tells about the cause, and what to do about it.
CAUSES = (
    ("Unable to locate package", "a package name is wrong, or the suite does not have it"),
    ("has no installation candidate", "a package name is wrong, or the suite does not have it"),
    ("No space left on device", "free some disk space; FREEHOLD_CACHE moves the cache elsewhere"),
    ("Temporary failure resolving", "the package mirror's name does not resolve: check the network"),
    ("Could not resolve", "the package mirror's name does not resolve: check the network"),
    ("Could not connect", "the package mirror does not answer: check the network, or give --mirror"),
    ("Connection failed", "the package mirror does not answer: check the network, or give --mirror"),
    ("does not have a Release file", "this mirror does not carry the suite: check --mirror"),
    ("NO_PUBKEY", "the suite's signing key is unknown here: install debian-archive-keyring"),
    ("write failed /proc/self/uid_map", "this user may not make user namespaces"),
    ("unshare failed: Operation not permitted", "this user may not make user namespaces; build as root"),
    ("newuidmap", "this user needs subordinate ids in /etc/subuid and /etc/subgid, and the package uidmap"),
    ("subuid", "this user needs subordinate ids: usermod --add-subuids 100000-165535 NAME"),
)

_REPEATED = re.compile(r"E: (setup|mmdebstrap) failed|E: (.* failed: E: )?apt-get .* failed$")


def telling(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines that say what went wrong: apt's and dpkg's errors where there are, else the last ones."""
    errors = [line for line in lines if line.startswith(("E: ", "dpkg: error"))]
    # mmdebstrap repeats apt's whole command line after apt's own words.
    short = [line for line in errors if not _REPEATED.match(line)]
    return tuple((short or errors or list(lines))[-20:])


def explain(lines: Sequence[str]) -> str:
    """What to do about a failure, from what it printed; empty where nothing is recognised."""
    text = "\n".join(lines)
    return next((hint for mark, hint in CAUSES if mark in text), "")
