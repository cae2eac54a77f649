"""What this machine must have before a rig can be brought up."""

from __future__ import annotations

import os
from pathlib import Path

from freehold.environment import which

PROGRAMS = {
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "systemd-nspawn": "systemd-container",
    "ssh": "openssh-client",
}


def missing() -> tuple[str, ...]:
    """Reasons why no rig can run here; empty where it can."""
    reasons = []
    if os.geteuid() != 0:
        reasons.append("network namespaces need root")
    reasons.extend(
        f"the program {program} is missing (package {package})"
        for program, package in PROGRAMS.items()
        if which(program) is None
    )
    filesystems = Path("/proc/filesystems").read_text().split()
    reasons.extend(
        f"the kernel has no {name} file system" for name in ("overlay", "cgroup2") if name not in filesystems
    )
    return tuple(reasons)
