"""Who gets in: users, keys, sudo, sshd."""

from __future__ import annotations

from cloudinit.checks.model import check
from cloudinit.facts import Facts
from cloudinit.parts.ssh import settings
from cloudinit.profile import HostProfile


@check("users", "Users, their shells and groups")
def users(facts: Facts, profile: HostProfile) -> str:
    found = facts.table("users")
    problems = []
    for user in profile.users:
        shell, *groups = found.get(user.name, "").split()[:1] + found.get(user.name, "").split()[1:] or [""]
        missing = [name for name in user.all_groups if name not in groups]
        if not shell:
            problems.append(f"{user.name} is missing")
        elif shell != user.shell:
            problems.append(f"{user.name} has the shell {shell}")
        elif missing:
            problems.append(f"{user.name} is not in {', '.join(missing)}")
    return "; ".join(problems)


@check("keys", "SSH keys")
def keys(facts: Facts, profile: HostProfile) -> str:
    lines = [line.split() for line in facts.lines("keys")]
    problems = []
    for user in profile.users:
        present = {word for name, *words in lines if name == user.name for word in words}
        if not present:
            problems.append(f"{user.name} has no key")
        missing = [key for key in user.public_keys if key.data not in present]
        problems += [f"{user.name} lacks {key.comment or key.fingerprint}" for key in missing]
    return "; ".join(problems)


@check("sudo", "sudo without a password, for those who may")
def sudo(facts: Facts, profile: HostProfile) -> str:
    able = set(facts.lines("sudo"))
    wrong = [user.name for user in profile.users if (user.name in able) is not user.sudo]
    return f"not as the profile says: {', '.join(wrong)}" if wrong else ""


@check("ssh", "SSH server takes keys only")
def ssh(facts: Facts, profile: HostProfile) -> str:
    found, meant = facts.lists("sshd"), facts.lists("sshd-meant")
    if not found or not meant:
        return "sshd does not tell its settings"
    wrong = []
    for name in settings(profile):
        have, wanted = found.get(name.lower(), ()), meant.get(name.lower(), ())
        # The host's own files may add to a list, such as AcceptEnv; a port more is a door more.
        if set(wanted) - set(have) or (name == "Port" and set(have) != set(wanted)):
            wrong.append(f"{name} is {', '.join(have) or 'not set'}")
    return "; ".join(wrong)


CHECKS = (users, keys, sudo, ssh)
