"""Names that users of a profile may not have, and why: Debian's own accounts, and groups that give power."""

from __future__ import annotations

# Accounts that Debian's base-passwd, its packages and systemd own. Programs run as them.
_ACCOUNTS = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody _apt
messagebus sshd syslog uuidd tss landscape fwupd-refresh polkitd
"""
ACCOUNTS = frozenset(_ACCOUNTS.split())
FREEHOLD = frozenset({"freehold", "freehold-proxy"})
# Groups to which a host gives something that others must not have: root's place, hashes of passwords, private
# keys, logs, disks, memory, other people's terminals and keyboards, virtual machines.
_POWERFUL = """
docker sudo adm wheel disk kmem tty shadow utmp sasl nogroup systemd-journal input video render kvm sgx clock
plugdev netdev crontab ssl-cert ssh _ssh lxd incus incus-admin libvirt libvirt-qemu
"""
POWERFUL = frozenset(_POWERFUL.split())
# Groups that Debian has before any user, and that guard nothing of that kind. useradd makes no second one, so
# that a user who is called so is in `freehold` first: Debian's own has other members, and goes with its user.
_HARMLESS = "audio cdrom dialout dip fax floppy operator src staff tape users voice"
HARMLESS = frozenset(_HARMLESS.split())

# `groups:` makes groups; these are there already, or would be somebody else's.
RESERVED_GROUPS = ACCOUNTS | FREEHOLD | {"docker", "sudo", "adm", "wheel"}


def is_reserved_group(name: str) -> bool:
    """Whether a profile may not make a group of this name."""
    return name in RESERVED_GROUPS or name.startswith("systemd-")


def why_not(name: str) -> tuple[str, str]:
    """Why no user of a profile may be called so, and what to do; two empty texts where one may."""
    other = "name the user otherwise, such as deploy"
    if name == "root":
        return "root is on every host", "root's own keys are left alone; name another user, such as deploy"
    if name in FREEHOLD:
        return f"{name!r} is Freehold's own, on every host", other
    if name in POWERFUL:
        reason = (
            f"the group {name!r} gives power over a host, and a user of the same name would be taken for it"
        )
        return reason, f"{other}, and give it the group with groups: [{name}]"
    if name in ACCOUNTS or name.startswith("systemd-"):
        return f"{name!r} is an account of Debian's own, as which programs run", other
    return "", ""
