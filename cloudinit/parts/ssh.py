"""sshd: keys only, on one port."""

from __future__ import annotations

import shlex

from cloudinit.parts.ownfile import as_file
from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step

PACKAGES = ("openssh-server",)
FOLDER = "/etc/ssh/sshd_config.d/"
PATH = f"{FOLDER}10-freehold.conf"
# A connection of nobody's in particular; its port comes last.
ANYBODY = "user=nobody,addr=127.0.0.1,host=localhost,laddr=127.0.0.1,lport="


def settings(profile: HostProfile) -> dict[str, str]:
    """sshd's settings, by the names that sshd_config(5) gives them.

    sshd takes the first value it reads, so a file that begins with 10 stands above cloud-init's 50.
    """
    ssh = profile.ssh
    values = {
        "Port": str(ssh.port),
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitEmptyPasswords": "no",
        "PermitRootLogin": "prohibit-password" if ssh.root else "no",
        "X11Forwarding": "no",
        "UseDNS": "no",
        "LoginGraceTime": "60",
        "ClientAliveInterval": "60",
        "ClientAliveCountMax": "5",
        "MaxSessions": str(ssh.max_sessions),
        # Deployers open many connections at once; the default drops them at random beyond ten.
        "MaxStartups": f"{ssh.max_sessions}:30:{ssh.max_sessions * 2}",
    }
    # sshd does not tell capitals apart: an option of the profile's own takes the place of a default.
    own = {name.lower() for name in ssh.options}
    return {name: value for name, value in values.items() if name.lower() not in own} | dict(ssh.options)


def config_text(profile: HostProfile) -> str:
    """The settings as a file of sshd's."""
    return "".join(f"{name} {value}\n" for name, value in settings(profile).items())


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """The settings, checked by sshd itself before it reads them; it listens before the firewall follows."""
    port = profile.ssh.port
    # The profile's own are checked and read with the rest.
    own = tuple(as_file(item) for item in profile.files if item.path.startswith(FOLDER))
    users = "".join(f" {user.name}" for user in profile.users)
    named = " | ".join(shlex.quote(path) for path in (PATH, *(item.path for item in own)))
    return (
        Step(
            "ssh",
            "SSH server",
            before=f"{_lock_out(profile)}{_prepare(port)}",
            files=(File(PATH, config_text(profile)), *own),
            script=f"""
if ! grep -qiE '^[[:space:]]*Include[[:space:]]+/etc/ssh/sshd_config\\.d/' /etc/ssh/sshd_config; then
    keep /etc/ssh/sshd_config
    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
    changed "sshd reads sshd_config.d"
fi
# Ports add up: one that another file names would stay open in sshd and shut in the firewall.
for path in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf; do
    case $path in {named}) continue ;; esac
    grep -qsiE '{_PORT}' "$path" || continue
    keep "$path"
    sed -i -E 's/{_PORT}/#&/I' "$path"
    changed "$path names no port any more"
done
if live; then
{_compare(port).strip()}
if declare -F keep_door >/dev/null; then keep_door {port}{users}; fi
fi
# systemd would listen in sshd's place, on the port of the socket's unit. The sshd that it started ends
# first (sessions stay): the alias that enabling makes can let systemd forget a service that runs, which
# would then keep the old port.
if live && [ -n "$socket" ]; then systemctl stop ssh.socket ssh.service; fi
disable ssh.socket
enable ssh.service
""",
            live=_take_over(port),
        ),
    )


_PORT = "^[[:space:]]*Port[[:space:]=]"


def _prepare(port: int) -> str:
    # A sshd that cannot have its port ends at the reload, and systemd does not start it again.
    return f"""
if live; then
    held=$(grep -v '"sshd"' <<<"$(ss -Hltnp "sport = :{port}")" || true)
    if [ -n "$held" ] && ! grep -qF ":{port} " <<<"$(systemctl show -p Listen ssh.socket)"; then
        give_up "port {port}, which is to be sshd's (ssh.port in config/host.yml), belongs to another program:" \\
            $(sed -n 's/.*users:(("\\([^"]*\\)".*/\\1/p' <<<"$held" | sort -u)
    fi
    socket=
    if systemctl --quiet is-enabled ssh.socket 2>/dev/null || systemctl --quiet is-active ssh.socket; then
        socket=yes
    fi
    mkdir -p /run/sshd /etc/ssh/sshd_config.d "$FREEHOLD_WORK/ssh"
    cp -a /etc/ssh/sshd_config /etc/ssh/sshd_config.d "$FREEHOLD_WORK/ssh/"
    if declare -F see_door >/dev/null; then see_door; fi
fi
# refuse MESSAGE... : leave sshd's files as they were, for the next boot would read them.
refuse() {{
    rm -rf /etc/ssh/sshd_config.d
    cp -a "$FREEHOLD_WORK"/ssh/. /etc/ssh/
    taken_back
    give_up "$@"
}}
"""  # noqa: E501 - one shell command a line


def _compare(port: int) -> str:
    # What sshd would do: other files have a say in it, and the firewall shuts what is not meant.
    return f"""
said=$(sshd -t 2>&1) || refuse "sshd refuses the settings: $said"
# Without a port of a connection it does not say what a file holds that has a Match LocalPort.
would=$(sshd -T 2>&1) ||
    would=$(sshd -T -C {ANYBODY}{port} 2>&1) ||
    refuse "sshd does not say what it would do: $would"
ports=$(sed -n 's/^listenaddress .*://p' <<<"$would" | sort -un | tr '\\n' ' ')
[ "$ports" = "{port} " ] || refuse "sshd would listen on port ${{ports% }}, not on {port} alone:" \\
    "$(grep -isE '^[[:space:]]*(Port|ListenAddress)[[:space:]=]' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf)"
for name in PasswordAuthentication KbdInteractiveAuthentication; do
    grep -qix "$name no" <<<"$would" || refuse "sshd would let passwords in, as a file says so that it reads first:" \\
        "$(grep -isE "^[[:space:]]*$name[[:space:]=]" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf)"
done
"""  # noqa: E501 - one shell command a line


def _take_over(port: int) -> str:
    return f"""
listens() {{ grep -q '"sshd"' <<<"$(ss -Hltnp "sport = :{port}")"; }}
if [ -e "$FREEHOLD_WORK/changed" ] || ! listens; then
    systemctl daemon-reload
    done=yes
    systemctl reload-or-restart ssh.service || done=
    for _ in $(seq 50); do
        if [ -z "$done" ] || listens; then break; fi
        sleep 0.2
    done
    if ! listens; then
        said=$(journalctl -n 5 -o cat -u ssh.service)
        rm -rf /etc/ssh/sshd_config.d
        cp -a "$FREEHOLD_WORK"/ssh/. /etc/ssh/
        if [ -n "$socket" ]; then
            systemctl stop ssh.service
            systemctl --quiet enable --now ssh.socket
        else
            systemctl restart ssh.service
        fi
        taken_back
        give_up "sshd does not listen on port {port}: $said"
    fi
fi
"""


def _lock_out(profile: HostProfile) -> str:
    # Only on a live host can a login be lost; a tree gets its keys with the seed.
    names = [user.name for user in profile.users] + (["root"] if profile.ssh.root else [])
    return f"""
if live; then
    found=
    for name in {" ".join(names)}; do
        home=$(getent passwd "$name" | cut -d: -f6)
        if [ -s "$home/.ssh/authorized_keys" ]; then found=yes; fi
    done
    [ -n "$found" ] || give_up "nobody could log in any more: no user has a key (users: in config/host.yml)"
fi
"""
