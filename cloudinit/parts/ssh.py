"""sshd: keys only."""

from __future__ import annotations

from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step

PACKAGES = ("openssh-server",)
PATH = "/etc/ssh/sshd_config.d/10-freehold.conf"


def settings(profile: HostProfile) -> dict[str, str]:
    """sshd's settings, by the names that sshd_config(5) gives them.

    sshd takes the first value it reads, so a file that begins with 10 stands above cloud-init's 50.
    """
    ssh = profile.ssh
    values = {
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
    if ssh.port != 22:
        values["Port"] = str(ssh.port)
    # sshd does not tell capitals apart: an option of the profile's own takes the place of a default.
    own = {name.lower() for name in ssh.options}
    return {name: value for name, value in values.items() if name.lower() not in own} | dict(ssh.options)


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """The settings, checked by sshd itself before it reads them."""
    text = "".join(f"{name} {value}\n" for name, value in settings(profile).items())
    return (
        Step(
            "ssh",
            "SSH server",
            before=_lock_out(profile),
            files=(File(PATH, text),),
            script="""
if ! grep -qiE '^[[:space:]]*Include[[:space:]]+/etc/ssh/sshd_config\\.d/' /etc/ssh/sshd_config; then
    keep /etc/ssh/sshd_config
    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
    changed "sshd reads sshd_config.d"
fi
if ! systemctl is-enabled --quiet ssh.socket 2>/dev/null; then enable ssh.service; fi
""",
            live=f"""
if [ -e "$FREEHOLD_WORK/changed" ]; then
    mkdir -p /run/sshd
    if ! said=$(sshd -t 2>&1); then
        rm -f {PATH}
        give_up "sshd refuses the settings: $said"
    fi
    # A socket-activated sshd reads them at the next connection.
    notify reload ssh.service
fi
""",
        ),
    )


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
