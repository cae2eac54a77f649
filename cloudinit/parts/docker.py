"""The Docker Engine and the network that proxied containers are on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from cloudinit.leaks import in_text
from cloudinit.profile import HostProfile
from cloudinit.services import APP_BRIDGE, APP_DYNAMIC, APP_NETWORK, APP_SUBNET, DOCKER0
from cloudinit.steps import File, Step
from freehold.source import Location

PACKAGES = ("docker.io", "iptables")
# From Debian 13 on the client is a package of its own that docker.io only recommends.
SUITE_PACKAGES = {"trixie": ("docker-cli",), "forky": ("docker-cli",)}

NETWORK_UNIT = "freehold-network.service"
_DAEMON = "/etc/docker/daemon.json"
# Which options the recipe wrote, so that those which leave the profile are told from the host's own.
_RECORD = "engine"
# What says where and how the engine stores, or whose its files are.
_STORAGE = (
    "data-root",
    "graph",
    "storage-driver",
    "storage-opts",
    "userns-remap",
    "containerd",
    "containerd-namespace",
    "exec-root",
    "features.containerd-snapshotter",
)
# The names of a JSON object and of its "features". perl is on every Debian; python3 and jq need not be.
_KEYS = r"""
my ($depth, $top) = (0, "");
while (/"((?:[^"\\]|\\.)*)"(\s*:)?|([\[{])|([\]}])/g) {
    if ($3) { $depth++ } elsif ($4) { $depth-- }
    elsif ($2 && $depth == 1) { $top = $1; print "$1\n" if $top ne "features" }
    elsif ($2 && $depth == 2 && $top eq "features") { print "features.$1\n" }
}
"""
_GATEWAY = str(next(APP_SUBNET.hosts()))
# A route of any table, or of a link that covers more, or a connection from there, as one that came through a
# bastion: the new network would take the answers to these addresses.
_TAKEN = f"""in_the_way() {{
    {{
        ip -4 route show table all root {APP_SUBNET}
        ip -4 route show table all match {APP_SUBNET} scope link | grep -v '^default '
    }} | grep -v ' dev {APP_BRIDGE} ' | sed -n '1s/ *$//p'
    ss -Htn state established dst {APP_SUBNET} | awk 'NR == 1 {{ print "a connection from " $4 }}' || true
}}
"""


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
    options = engine_options(profile)
    text = json.dumps(options, indent=2, sort_keys=True) + "\n"
    names = _names(options)
    guard = f"""
names=' {" ".join(names)} '
if live && [ -s {_DAEMON} ]; then
    own=' '
    if [ -e "$FREEHOLD_STATE/{_RECORD}" ]; then own=" $(recall {_RECORD}) "
    elif grep -qxF {_DAEMON} "$FREEHOLD_STATE/written" 2>/dev/null; then own=all
    fi
    lost=
    for key in $(perl -0777 -ne {shlex.quote(_KEYS)} {_DAEMON}); do
        case $names in *" $key "*) continue ;; esac
        # An engine that stores elsewhere would come back empty. What else the recipe wrote itself may go.
        case $key in
        {" | ".join(_STORAGE)}) ;;
        *) case $own in all | *" $key "*) continue ;; esac ;;
        esac
        lost+="${{lost:+, }}$key"
    done
    [ -z "$lost" ] || give_up "{_DAEMON} of this host sets $lost, and config/host.yml does not:" \\
        "say it there under docker, or take it out of that file; nothing was changed"
    cp -p {_DAEMON} "$FREEHOLD_WORK/daemon.json"
fi
"""
    check = f"""
# From version 23 on the engine can say whether it understands the file before it is restarted with it.
if [ -e "$FREEHOLD_WORK/changed" ] && command -v dockerd >/dev/null && dockerd --help | grep -q -- --validate; then
    if ! said=$(dockerd --validate --config-file {_DAEMON} 2>&1); then
        if [ -e "$FREEHOLD_WORK/daemon.json" ]; then cp -p "$FREEHOLD_WORK/daemon.json" {_DAEMON}; else rm -f {_DAEMON}; fi
        taken_back
        give_up "Docker refuses the options (docker.options in config/host.yml): $said"
    fi
fi
say "${{names:1:-1}}" | remember {_RECORD}
"""  # noqa: E501 - one shell command a line
    # A reload turns live-restore on, so that the restart which reads the rest leaves containers alone.
    notify = (("reload", "docker.service"), ("restart", "docker.service"))
    file = File(_DAEMON, text, notify=notify)
    engine = Step("engine", "Docker's options", before=guard, files=(file,), live=check)
    return (_subnet(), engine)


def secrets(profile: HostProfile) -> tuple[str, ...]:
    """What in the engine's options looks like a secret, as the password of a mirror or of a proxy."""
    where = profile.places.get("docker", Location("config/host.yml", key="docker"))
    lines = json.dumps(engine_options(profile), indent=2, ensure_ascii=False).splitlines()
    return tuple(f"{leak.what} ({where})" for line in lines for leak in in_text(line, where))


def _names(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The options' names, and those of the features, as `features.NAME`."""
    features = options.get("features")
    inner = sorted(features) if isinstance(features, Mapping) else []
    return (*sorted(options), *(f"features.{name}" for name in inner))


def _subnet() -> Step:
    """The subnet of the application network has to be free: known before anything is changed."""
    live = f"""
{_TAKEN}
if command -v ip >/dev/null && command -v ss >/dev/null && [ ! -e /sys/class/net/{APP_BRIDGE} ]; then
    taken=$(in_the_way | head -n 1)
    [ -z "$taken" ] ||
        give_up "the network {APP_NETWORK} needs {APP_SUBNET}, where this host already has $taken;" \\
            "nothing was changed: give what is there other addresses"
fi
"""
    return Step("subnet", "Subnet of the applications", live=live)


def steps(_profile: HostProfile) -> tuple[Step, ...]:
    """The engine at every boot, and the application network."""
    unit = f"""[Unit]
Description=Docker network {APP_NETWORK}
# Docker keeps the network while it is stopped.
Wants=docker.service
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
{_TAKEN}taken=$(in_the_way | head -n 1)
if [ -n "$taken" ]; then
    echo "the network {APP_NETWORK} needs {APP_SUBNET}, where this host already has $taken" >&2
    exit 1
fi
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
