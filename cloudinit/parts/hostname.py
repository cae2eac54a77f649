"""What a host calls itself: its name, its full name, and the line of its own in /etc/hosts."""

from __future__ import annotations

from cloudinit.profile import HostProfile
from cloudinit.steps import Step

# sudo looks its own host up; the loopback line answers without DNS. In place: a container runtime may have
# mounted the file.
OWN_LINE = """\
    keep /etc/hosts
    rest=$(grep -v '^127\\.0\\.1\\.1[[:space:]]' /etc/hosts)
    printf '%s\\n%s\\n' "$rest" "$own" >/etc/hosts
    changed "/etc/hosts"
"""


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Its names, where the profile says any."""
    if profile.hostname:
        return (_name(profile.hostname, profile.fqdn),)
    return (_full_name(profile.fqdn),) if profile.fqdn else ()


def _full_name(fqdn: str) -> Step:
    """The full name of a host that keeps the name it has, which only the host knows."""
    return Step(
        "full-name",
        "Full name",
        live=f"""
own="127.0.1.1 $(printf '%s\\n' {fqdn} "$(hostname)" | uniq | paste -sd ' ')"
if ! grep -qxF "$own" /etc/hosts; then
{OWN_LINE}    if [ -d /etc/cloud/cloud.cfg.d ]; then
        echo 'manage_etc_hosts: false' | file /etc/cloud/cloud.cfg.d/99-freehold-name.cfg 644 root root
    fi
fi
""",
    )


def _name(hostname: str, fqdn: str) -> Step:
    own = " ".join(dict.fromkeys(filter(None, (fqdn, hostname))))
    return Step(
        "name",
        "Host name",
        script=f"""
printf '%s\\n' {hostname} | file /etc/hostname 644 root root
own='127.0.1.1 {own}'
if ! grep -qxF "$own" /etc/hosts; then
{OWN_LINE}fi
# cloud-init would give the host its former name back at the next boot.
if [ -d /etc/cloud/cloud.cfg.d ]; then
    file /etc/cloud/cloud.cfg.d/99-freehold-name.cfg 644 root root <<'END'
preserve_hostname: true
manage_etc_hosts: false
END
fi
""",
        live=f"""
if [ "$(hostname)" != {hostname} ]; then
    hostname {hostname}
    changed "host name"
fi
""",
    )
