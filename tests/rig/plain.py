"""A plain Debian tree: what a fresh server is before `server bootstrap`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from builder.sandbox import Sandbox
from builder.store import Store
from freehold.console import Console
from freehold.process import Runner
from tests.rig.slot import default_root

PACKAGES = (
    "apt-utils",
    "ca-certificates",
    "curl",
    "dbus",
    "init",
    "iproute2",
    "libpam-systemd",
    "locales",
    "netbase",
    "openssh-server",
    "procps",
    "python3-minimal",
    "sudo",
    "systemd-sysv",
    "udev",
)

SCRIPT = """\
set -eu
mmdebstrap --mode=root --variant=minbase --include="$3" --aptopt='Apt::Install-Recommends "false"' "$2" "$1"
rm -f "$1"/etc/ssh/ssh_host_*
: > "$1/etc/machine-id"
chroot "$1" systemctl enable systemd-networkd
"""


def build_plain(suite: str, *, runner: Runner, console: Console) -> Path:
    """The tree of a suite, from the cache or made now (about half a minute)."""
    sandbox = Sandbox.here(runner)
    store = Store(default_root() / "trees", sandbox.remove)
    packages = ",".join(PACKAGES)
    key = hashlib.sha256(json.dumps([suite, packages, SCRIPT]).encode()).hexdigest()[:20]
    found = store.find("plain", key)
    if found is not None:
        return found / "tree"
    with store.make("plain", key) as work:
        if not work.done:
            with console.step(f"making a plain {suite} tree"):
                runner.run(("bash", "-c", SCRIPT, "plain", work.path / "tree", suite, packages), timeout=900)
    return default_root() / "trees" / "plain" / key / "tree"
