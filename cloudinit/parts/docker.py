"""The Docker Engine and the network that proxied containers are on."""

from __future__ import annotations

import json
from typing import Any

from cloudinit.profile import HostProfile
from cloudinit.services import APP_BRIDGE, APP_DYNAMIC, APP_NETWORK, APP_SUBNET, DOCKER0
from cloudinit.steps import File, Step

PACKAGES = ("docker.io", "iptables")
# From Debian 13 on the client is a package of its own that docker.io only recommends.
SUITE_PACKAGES = {"trixie": ("docker-cli",), "forky": ("docker-cli",)}

NETWORK_UNIT = "freehold-network.service"
_DAEMON = "/etc/docker/daemon.json"
_GATEWAY = str(next(APP_SUBNET.hosts()))


def engine_options(profile: HostProfile) -> dict[str, Any]:
    """`daemon.json`.

    The userland proxy is off: it would accept published ports in user space, past the forward hook
    that the firewall watches. The address pools leave 192.168.0.0/16 and 10.0.0.0/8 to the host's
    own networks.
    """
    docker = profile.docker
    options: dict[str, Any] = {
        "bip": str(DOCKER0),
        "default-address-pools": [{"base": pool.base, "size": pool.size} for pool in docker.address_pools],
        "live-restore": docker.live_restore,
        "log-driver": "json-file",
        "log-opts": {"max-file": str(docker.log_max_files), "max-size": docker.log_max_size},
        "userland-proxy": False,
    }
    if docker.mirrors:
        options["registry-mirrors"] = list(docker.mirrors)
    return {**options, **docker.options}


def before_packages(profile: HostProfile) -> tuple[Step, ...]:
    """The engine's options stand before the package does, so that its first start reads them."""
    text = json.dumps(engine_options(profile), indent=2, sort_keys=True) + "\n"
    kept = sorted({"data-root", "graph", "storage-driver"} - set(profile.docker.options))
    guard = f"""
# An engine that stores elsewhere would come back empty.
if live && [ -s {_DAEMON} ]; then
    for key in {" ".join(kept)}; do
        if grep -q "\\"$key\\"" {_DAEMON}; then
            give_up "{_DAEMON} of this host sets $key: say so in config/host.yml under docker.options"
        fi
    done
    cp -p {_DAEMON} "$FREEHOLD_WORK/daemon.json"
fi
"""
    check = f"""
# From version 23 on the engine can say whether it understands the file before it is restarted with it.
if [ -e "$FREEHOLD_WORK/changed" ] && command -v dockerd >/dev/null && dockerd --help | grep -q -- --validate; then
    if ! said=$(dockerd --validate --config-file {_DAEMON} 2>&1); then
        if [ -e "$FREEHOLD_WORK/daemon.json" ]; then cp -p "$FREEHOLD_WORK/daemon.json" {_DAEMON}; else rm -f {_DAEMON}; fi
        give_up "Docker refuses the options (docker.options in config/host.yml): $said"
    fi
fi
"""  # noqa: E501 - one shell command a line
    # A reload turns live-restore on, so that the restart which reads the rest leaves containers alone.
    notify = (("reload", "docker.service"), ("restart", "docker.service"))
    file = File(_DAEMON, text, notify=notify)
    return (Step("engine", "Docker's options", before=guard, files=(file,), live=check),)


def steps(_profile: HostProfile) -> tuple[Step, ...]:
    """The engine at every boot, and the application network."""
    unit = f"""[Unit]
Description=Docker network {APP_NETWORK}
Requires=docker.service
After=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/freehold/network

[Install]
WantedBy=multi-user.target
"""
    program = f"""#!/bin/sh
# Make the network of the proxied containers. Dynamic addresses come from the upper half; a deploy
# gives fixed ones from the lower, so that the proxy's targets stay true across restarts.
set -eu
found=$(docker network inspect --format '{{{{(index .IPAM.Config 0).Subnet}}}}' {APP_NETWORK} 2>/dev/null || true)
case $found in
{APP_SUBNET}) exit 0 ;;
"") ;;
*) echo "the Docker network {APP_NETWORK} has the subnet $found, not {APP_SUBNET}" >&2; exit 1 ;;
esac
exec docker network create --driver bridge --subnet {APP_SUBNET} --ip-range {APP_DYNAMIC} \\
    --gateway {_GATEWAY} --opt com.docker.network.bridge.name={APP_BRIDGE} {APP_NETWORK}
"""  # noqa: E501 - one shell command a line
    return (
        Step(
            "docker",
            "Docker",
            script="enable docker.service",
            live="start docker.service",
        ),
        Step(
            "network",
            "Application network",
            files=(
                File("/usr/local/lib/freehold/network", program, 0o755),
                File(f"/etc/systemd/system/{NETWORK_UNIT}", unit),
            ),
            script=f"enable {NETWORK_UNIT}",
            live=f"""
start {NETWORK_UNIT}
docker network inspect {APP_NETWORK} >/dev/null 2>&1 || systemctl restart {NETWORK_UNIT}
""",
        ),
    )
