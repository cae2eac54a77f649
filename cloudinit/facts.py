"""What a host is, observed: one command gathers everything, and a pure parser takes it apart.

A virtual machine under emulation takes half a second for a command, and so does a distant host; the
checks therefore look at what one command brought.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudinit.parts.caddyfile import ADMIN
from cloudinit.parts.lastgood import FAILING, PATH_UNIT, REASON
from cloudinit.parts.listeners import SERVICE_UNIT, SOCKET_UNIT, http_address
from cloudinit.parts.ssh import ANYBODY, config_text
from cloudinit.parts.users import LOCKS, SHARED
from cloudinit.profile import HostProfile
from cloudinit.proxybinary import BINARY
from cloudinit.recipe import make_recipe
from cloudinit.services import APP_NETWORK

_MARK = "@@fact "
_ENGINE = (
    '{"ServerVersion":{{json .ServerVersion}},"LiveRestoreEnabled":{{json .LiveRestoreEnabled}},'
    '"LoggingDriver":{{json .LoggingDriver}}}'
)
_UNITS = (
    "docker.service",
    "freehold-network.service",
    SOCKET_UNIT,
    SERVICE_UNIT,
    PATH_UNIT,
    "nftables.service",
    "ssh.service",
    "ssh.socket",
    "systemd-timesyncd.service",
    "chrony.service",
    "apt-daily-upgrade.timer",
    "fail2ban.service",
)


@dataclass(frozen=True)
class Facts:
    """Name of a fact to the output of its command; a command that failed left what it printed."""

    outputs: Mapping[str, str]

    def text(self, name: str) -> str:
        """The output of a fact, without blanks at its ends."""
        return self.outputs.get(name, "").strip()

    def lines(self, name: str) -> tuple[str, ...]:
        """The lines of a fact that are not empty."""
        return tuple(line.strip() for line in self.text(name).splitlines() if line.strip())

    def json(self, name: str) -> Any:
        """A fact that is JSON; None where it is not."""
        try:
            return json.loads(self.text(name))
        except ValueError:
            return None

    def unit(self, name: str) -> Mapping[str, str]:
        """`ActiveState`, `UnitFileState` and so on of a systemd unit."""
        for block in self.text("units").split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if values.get("Id") == name:
                return values
        return {}

    def table(self, name: str, separator: str = " ") -> dict[str, str]:
        """Lines of `KEY VALUE` as a dict; the keys in lower case."""
        pairs = (line.partition(separator) for line in self.lines(name))
        return {key.strip().lower(): value.strip() for key, _, value in pairs}

    def lists(self, name: str) -> dict[str, tuple[str, ...]]:
        """Lines of `KEY VALUE`, of which a key may have several; the keys in lower case."""
        found: dict[str, tuple[str, ...]] = {}
        for line in self.lines(name):
            key, _, value = line.partition(" ")
            found[key.lower()] = (*found.get(key.lower(), ()), value.strip())
        return found


def commands(profile: HostProfile) -> dict[str, str]:
    """Name of a fact to the shell command that finds it out."""
    names = " ".join(user.name for user in profile.users)
    paths = " ".join([*SHARED, LOCKS, "/run/freehold-proxy", ADMIN])
    written = " ".join(shlex.quote(item.path) for step in make_recipe(profile).steps for item in step.files)
    kernel = " ".join(shlex.quote(name) for name in profile.sysctl)
    packages = " ".join(profile.packages)
    probe = profile.users[0].name if profile.users else "root"
    return {
        "system": "systemctl is-system-running; systemctl --failed --plain --no-legend | cut -d' ' -f1",
        "container": "systemd-detect-virt --container",
        "units": f"systemctl show -p Id,ActiveState,UnitFileState,LoadState {' '.join(_UNITS)}",
        "docker": f"docker info --format '{_ENGINE}'",
        "network": f"docker network inspect {APP_NETWORK}",
        "caddy": f"{BINARY} version",
        "modes": f"stat -c '%n %a %U %G' {paths}",
        "admin": f"runuser -u {probe} -- curl -s -m 5 -o /dev/null -w '%{{http_code}}' --unix-socket {ADMIN} "
        "http://localhost/config/",
        "refused": REASON,
        "failing": FAILING,
        "http": f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' http://{http_address(profile.proxy)}/",
        "listeners": "ss -Hlntup",
        "published": "docker ps --format '{{.Names}} {{.Ports}}'",
        "users": f'for n in {names}; do echo "$n $(getent passwd $n | cut -d: -f7) $(id -nG $n)"; done',
        "keys": f'for n in {names}; do sed "s/^/$n /" ~$n/.ssh/authorized_keys; done'.replace(
            "~$n", "$(getent passwd $n | cut -d: -f6)"
        ),
        "sudo": f"for n in {names}; do runuser -u $n -- sudo -n true && echo $n; done",
        # With a Match LocalPort in its files it says nothing unless it is told a port.
        "sshd": f"sshd -T || sshd -T -C {ANYBODY}{profile.ssh.port}",
        # sshd prints lists one by one, minutes as seconds, words in its own capitals: it is asked for both.
        "sshd-meant": f"sshd -T -f /dev/stdin <<'MEANT_END'\n{config_text(profile)}MEANT_END",
        "firewall": "nft -j list table inet freehold",
        "updates": "apt-config dump | grep -E '^(APT::Periodic|Unattended-Upgrade)::[A-Za-z:-]+ '",
        "zone": "readlink -f /etc/localtime",
        "servers": "timedatectl show-timesync --property=SystemNTPServers --value" if profile.ntp else ":",
        "locale": "cat /etc/locale.conf /etc/default/locale",
        "sysctl": f"sysctl {kernel}" if kernel else ":",
        "arrays": "cat /proc/mdstat",
        "swap": "swapon --show=NAME,SIZE --bytes --noheadings",
        "packages": f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {packages}"
        if packages
        else ":",
        "files": f"sha256sum {written}",
        "owners": f"stat -c '%a %U %G %n' {written}",
        "name": r"hostname; cat /etc/hostname; sed -n 's/^127\.0\.1\.1[[:space:]]*//p' /etc/hosts",
        "jails": "fail2ban-client status" if profile.fail2ban else ":",
    }


def gathering(profile: HostProfile) -> str:
    """One shell command that prints every fact; it becomes root by sudo where it has to."""
    lines = ["exec 2>/dev/null", "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"]
    for name, command in commands(profile).items():
        lines += [f"echo; echo '{_MARK}{name}'", f"{{ {command}\n}} </dev/null"]
    # A last command that ends with 255 would look like a connection that failed.
    lines.append("exit 0")
    script = "\n".join(lines)
    return f'if [ "$(id -u)" = 0 ]; then S=; else S="sudo -n"; fi; $S bash -c {shlex.quote(script)}'


def parse(output: str) -> Facts:
    """The facts in what `gathering` printed."""
    outputs: dict[str, str] = {}
    name = ""
    for line in output.splitlines():
        if line.startswith(_MARK):
            name = line.removeprefix(_MARK).strip()
            outputs[name] = ""
        elif name:
            outputs[name] += line + "\n"
    return Facts(outputs)
