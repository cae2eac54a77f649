"""The system itself: units, time, kernel, packages, files, updates."""

from __future__ import annotations

import hashlib
import re

from cloudinit.checks.model import check, running
from cloudinit.facts import Facts
from cloudinit.parts.base import SWAP_FILE
from cloudinit.parts.updates import origins
from cloudinit.profile import HostProfile
from cloudinit.recipe import make_recipe

# The largest page that a kernel of these machines has.
_PAGE = 64 * 1024


@check("system", "System runs, no unit failed")
def system(facts: Facts, _profile: HostProfile) -> str:
    state, *failed = facts.lines("system") or ("unknown",)
    return "" if state in ("running", "starting") and not failed else f"{state}: {' '.join(failed)}"


@check("updates", "Unattended updates")
def updates(facts: Facts, profile: HostProfile) -> str:
    found = {key: value.strip('";') for key, value in (line.split(" ", 1) for line in facts.lines("updates"))}
    enabled = found.get("APT::Periodic::Unattended-Upgrade") == "1"
    if enabled is not profile.updates.enabled:
        return "on" if enabled else "off"
    if not enabled:
        return ""
    reboot = found.get("Unattended-Upgrade::Automatic-Reboot") == "true"
    at = found.get("Unattended-Upgrade::Automatic-Reboot-Time", "once") if reboot else None
    if at != profile.updates.reboot:
        return f"reboots for updates: {at or 'never'}, not as the profile says"
    return _origins(facts, profile) or running(facts, "apt-daily-upgrade.timer")


def _origins(facts: Facts, profile: HostProfile) -> str:
    """What is wrong with where updates come from; files of the profile's own may add archives."""
    name = "Unattended-Upgrade::Origins-Pattern:: "
    found = [line.removeprefix(name).strip('";') for line in facts.lines("updates") if line.startswith(name)]
    wanted = origins(profile)
    if missing := [pattern for pattern in wanted if pattern not in found]:
        return f"no updates from {missing[0]}"
    own = "".join(
        file.content or "" for file in profile.files if file.path.startswith("/etc/apt/apt.conf.d/")
    )
    more = [pattern for pattern in found if pattern not in wanted and pattern not in own]
    return f"updates come from {more[0]} too" if more else ""


@check("arrays", "Every array has all its disks")
def arrays(facts: Facts, _profile: HostProfile) -> str:
    # A container sees the arrays of the machine below it.
    if facts.text("container") not in ("", "none"):
        return ""
    name, problems = "", []
    for line in facts.lines("arrays"):
        if " : active" in line or " : inactive" in line:
            name, _, state = line.partition(" : ")
            problems += [f"{name} does not run"] if state.startswith("inactive") else []
        found = re.search(r"\[(\d+)/(\d+)\] \[[U_]+\]", line)
        if found and found[1] != found[2]:
            problems.append(f"{name} has {found[2]} of {found[1]} disks")
    return ", ".join(problems)


@check("fail2ban", "fail2ban watches SSH")
def fail2ban(facts: Facts, profile: HostProfile) -> str:
    if not profile.fail2ban:
        return ""
    problem = running(facts, "fail2ban.service")
    return problem or ("" if "sshd" in facts.text("jails") else "it does not watch sshd")


@check("name", "Host name")
def name(facts: Facts, profile: HostProfile) -> str:
    now, file, own = (*facts.lines("name"), "", "", "")[:3]
    if profile.hostname and now != profile.hostname:
        return f"the host calls itself {now or 'nothing'}"
    if profile.hostname and file != profile.hostname:
        return f"after a reboot the host calls itself {file or 'nothing'}"
    full = own.split()[:1]
    if profile.fqdn and full != [profile.fqdn]:
        return f"its full name is {full[0] if full else 'nowhere'} (127.0.1.1 in /etc/hosts)"
    return ""


@check("time", "Time zone and clock")
def time(facts: Facts, profile: HostProfile) -> str:
    zone = facts.text("zone").removeprefix("/usr/share/zoneinfo/")
    # Debian links the names of one zone to each other.
    if zone != profile.timezone and {zone, profile.timezone} - {"Etc/UTC", "UTC", "Etc/UCT", "UCT", "Zulu"}:
        return f"the time zone is {zone}"
    if facts.text("container") not in ("", "none"):
        return ""
    clocks = ("systemd-timesyncd.service", "chrony.service")
    running = [unit for unit in clocks if facts.unit(unit).get("ActiveState") == "active"]
    if not running:
        return "nothing keeps the clock"
    # Another program has its servers from its own files.
    asked = facts.text("servers").split() if clocks[0] in running else profile.ntp
    missing = [server for server in profile.ntp if server not in asked]
    return f"the clock is not kept by {', '.join(missing)}" if missing else ""


@check("locale", "Locale")
def locale(facts: Facts, profile: HostProfile) -> str:
    return "" if f"LANG={profile.locale}" in facts.lines("locale") else facts.text("locale") or "not set"


@check("kernel", "Kernel settings and swap")
def kernel(facts: Facts, profile: HostProfile) -> str:
    if facts.text("container") not in ("", "none"):
        return ""
    found = facts.table("sysctl", "=")
    wrong = [
        name for name, value in profile.sysctl.items() if found.get(name.lower(), "").split() != value.split()
    ]
    if wrong:
        return f"not as the profile says: {', '.join(wrong)}"
    return _swap(facts, profile.swap or 0)


def _swap(facts: Facts, wanted: int) -> str:
    """What is wrong with Freehold's swap file; the host may have swap of its own besides."""
    sizes = facts.table("swap")
    if SWAP_FILE not in sizes:
        return f"{SWAP_FILE} is not in use" if wanted else ""
    if not wanted:
        return f"{SWAP_FILE} is in use, and the profile has no swap"
    # The first page holds no swap.
    found = int(sizes[SWAP_FILE])
    return "" if 0 <= wanted - found <= _PAGE else f"{SWAP_FILE} has {found >> 20} MiB, not {wanted >> 20}"


@check("packages", "Packages")
def packages(facts: Facts, profile: HostProfile) -> str:
    found = facts.table("packages")
    missing = [name for name in profile.packages if found.get(name) != "installed"]
    return f"missing: {', '.join(missing)}" if missing else ""


@check("files", "Files are as the recipe wrote them")
def files(facts: Facts, profile: HostProfile) -> str:
    digests = {path: digest for digest, _, path in (line.partition("  ") for line in facts.lines("files"))}
    owners = {path: owner for owner, _, path in (line.partition(" /") for line in facts.lines("owners"))}
    wrong = []
    for item in (item for step in make_recipe(profile).steps for item in step.files):
        content = item.content if item.content.endswith("\n") else item.content + "\n"
        owner = owners.get(item.path.removeprefix("/"))
        if item.path not in digests:
            wrong.append(f"{item.path} is missing")
        elif digests[item.path] != hashlib.sha256(content.encode()).hexdigest():
            wrong.append(f"{item.path} was changed")
        elif owner != f"{item.mode:o} {item.owner} {item.group}":
            wrong.append(f"{item.path} is {owner}, not {item.mode:o} {item.owner} {item.group}")
    return "; ".join(wrong)


CHECKS = (system, arrays, name, updates, fail2ban, time, locale, kernel, packages, files)
