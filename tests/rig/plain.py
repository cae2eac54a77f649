"""A plain Debian tree: what a fresh server is before `server bootstrap`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from builder.sandbox import Sandbox
from builder.store import Store
from cloudinit.profile import parse_profile
from cloudinit.recipe import make_recipe
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

# What tests ask of a host beyond the default.
PROFILE = "locale: de_DE.UTF-8\nfail2ban: true\npackages: [htop]\n"

# A vendor's image has the one besides; the other fetches the proxy's program there.
VENDOR = ("cloud-init", "python3-pip-whl")

# The packages that a bootstrap installs lie on the host as a repository: a rig has no way out to a mirror.
DOWNLOAD = """\
set -eu
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q -y --download-only install $EXTRA
mkdir -p "$1/srv/packages"
mv "$1"/var/cache/apt/archives/*.deb "$1/srv/packages/"
chroot "$1" sh -c 'cd /srv/packages && apt-ftparchive packages . >Packages'
"""

SCRIPT = """\
set -eu
export EXTRA=$4
mmdebstrap --mode=root --variant=minbase --include="$3" --aptopt='Apt::Install-Recommends "false"' \\
    --aptopt='Acquire::Retries "5"' \\
    --customize-hook="$5" "$2" "$1"
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/packages ./' >"$1/etc/apt/sources.list"
: > "$1/etc/machine-id"
chroot "$1" systemctl enable systemd-networkd
"""


def build_plain(suite: str, *, runner: Runner, console: Console) -> Path:
    """The tree of a suite, from the cache or made now (about a minute)."""
    extra = " ".join((*make_recipe(parse_profile(PROFILE)).packages_for(suite), *VENDOR))
    sandbox = Sandbox.here(runner)
    store = Store(default_root() / "trees", sandbox.remove)
    packages = ",".join(PACKAGES)
    key = hashlib.sha256(json.dumps([suite, packages, extra, SCRIPT, DOWNLOAD]).encode()).hexdigest()[:20]
    found = store.find("plain", key)
    if found is not None:
        return found / "tree"
    with store.make("plain", key) as work:
        if not work.done:
            with console.step(f"making a plain {suite} tree"):
                words = (work.path / "tree", suite, packages, extra, DOWNLOAD)
                runner.run(("bash", "-c", SCRIPT, "plain", *words), timeout=1800)
    return default_root() / "trees" / "plain" / key / "tree"
