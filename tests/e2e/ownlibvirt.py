"""A whole system libvirt (`qemu:///system`) in namespaces of its own: its networks are not this computer's.

Network, mounts and processes are apart: bridges, NAT rules and DHCP servers that libvirt makes stay in the
network namespace, and all of it ends with the command that is run inside.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from freehold.environment import which
from tests.conftest import cannot_run

NEEDED = ("libvirtd", "virsh", "dnsmasq", "ip", "unshare", "qemu-system-x86_64")
# Everything that a libvirt keeps, in memory of this mount namespace; then a libvirtd, until it answers.
LIBVIRT = r"""
set -eu
mount --make-rprivate /
ip link set lo up
for directory in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt; do
    mkdir -p "$directory"
    mount -t tmpfs tmpfs "$directory"
done
mkdir -p /etc/libvirt/qemu/networks /var/lib/libvirt/images
cat > /etc/libvirt/qemu.conf <<'END'
security_driver = "none"
user = "root"
group = "root"
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
END
echo 'auth_unix_rw = "none"' > /etc/libvirt/libvirtd.conf
libvirtd --pid-file /run/libvirt/libvirtd.pid > /var/log/libvirt/libvirtd.log 2>&1 &
for attempt in $(seq 120); do
    virsh -q -c qemu:///system uri > /dev/null 2>&1 && break
    sleep 0.5
done
"""
INSIDE = f"""{LIBVIRT}
# Not exec: when this shell, the namespace's first process, ends, everything inside ends.
"$@"
"""


def check_needs(*programs: str, kind: str = "vagrant") -> None:
    """Skip the test (or fail it, where its kind is required) when libvirt cannot run here."""
    reasons = [f"{name} is not installed" for name in (*NEEDED, *programs) if which(name) is None]
    if os.geteuid() != 0:
        reasons.append("network namespaces need root")
    if reasons:
        cannot_run(kind, "; ".join(reasons))


def run_inside(
    script: str, *words: str, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a bash script (arguments from $1 on) beside a libvirt of its own; both streams in `stdout`."""
    name = f"fh-libvirt-{os.getpid()}"
    command: Sequence[str] = (
        *(
            "ip",
            "netns",
            "exec",
            name,
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ),
        *("bash", "-c", INSIDE, "bash", "bash", "-euc", script, "bash", *words),
    )
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
