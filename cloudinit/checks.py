"""Whether a host is what its profile says: the suite behind `freehold server check`.

Usable from a test suite of one's own, with a testinfra host:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
    def test_host(check, facts, profile):
        assert check.problem(facts, profile) == ""

where `facts` is `gather(host, profile)`, made once a host.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cloudinit.facts import Facts, gathering, parse
from cloudinit.parts import ssh
from cloudinit.parts.docker import NETWORK_UNIT, engine_options
from cloudinit.parts.proxy import ADMIN, SERVICE_UNIT, SOCKET_UNIT
from cloudinit.parts.users import LOCKS, SHARED
from cloudinit.profile import HostProfile
from cloudinit.proxybinary import MINIMUM
from cloudinit.recipe import make_recipe
from cloudinit.services import APP_DYNAMIC, APP_SUBNET
from freehold.errors import FreeholdError


class Result(Protocol):
    """What a testinfra host's `run` returns."""

    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def rc(self) -> int: ...


class CheckedHost(Protocol):
    """The part of a testinfra host that the checks use."""

    def run(self, command: str, /) -> Result: ...


@dataclass(frozen=True)
class Check:
    """One thing that has to be true. `problem` says what is not, or is empty."""

    id: str
    title: str
    problem: Callable[[Facts, HostProfile], str]


@dataclass(frozen=True)
class CheckResult:
    """A check's outcome on one host."""

    id: str
    title: str
    ok: bool
    detail: str = ""


CHECKS: list[Check] = []


def _check(identity: str, title: str) -> Callable[[Callable[[Facts, HostProfile], str]], Any]:
    def register(function: Callable[[Facts, HostProfile], str]) -> Callable[[Facts, HostProfile], str]:
        CHECKS.append(Check(identity, title, function))
        return function

    return register


def gather(host: CheckedHost, profile: HostProfile) -> Facts:
    """Everything the checks look at, in one command; FreeholdError where the host does not let us."""
    result = host.run(gathering(profile))
    facts = parse(result.stdout)
    if not facts.outputs:
        raise FreeholdError(
            "the host could not be examined",
            hint="log in as root, or as a user who may become root by sudo without a password",
            details=tuple(result.stderr.splitlines()[-5:]),
        )
    return facts


def run_checks(host: CheckedHost, profile: HostProfile) -> list[CheckResult]:
    """Every check against a host, in one round trip."""
    facts = gather(host, profile)
    results = []
    for check in CHECKS:
        problem = check.problem(facts, profile)
        results.append(CheckResult(check.id, check.title, not problem, problem))
    return results


def _running(facts: Facts, *units: str) -> str:
    problems = []
    for unit in units:
        found = facts.unit(unit)
        if found.get("ActiveState") != "active":
            problems.append(f"{unit} is {found.get('ActiveState', 'unknown')}")
        elif found.get("UnitFileState") != "enabled":
            problems.append(f"{unit} is not started at boot")
    return "; ".join(problems)


@_check("system", "System runs, no unit failed")
def _system(facts: Facts, _profile: HostProfile) -> str:
    state, *failed = facts.lines("system") or ("unknown",)
    return "" if state in ("running", "starting") and not failed else f"{state}: {' '.join(failed)}"


@_check("docker", "Docker runs with the profile's options")
def _docker(facts: Facts, profile: HostProfile) -> str:
    problem = _running(facts, "docker.service")
    info = facts.json("docker")
    if problem or not isinstance(info, dict) or not info.get("ServerVersion"):
        return problem or "the engine does not answer"
    if info.get("LiveRestoreEnabled") is not profile.docker.live_restore:
        return "live-restore is not as the profile says"
    wanted = engine_options(profile)["log-driver"]
    return "" if info.get("LoggingDriver") == wanted else f"containers log by {info.get('LoggingDriver')}"


@_check("network", "Application network")
def _network(facts: Facts, _profile: HostProfile) -> str:
    found = facts.json("network")
    if not found:
        return "the Docker network freehold is missing"
    ranges = [(item.get("Subnet"), item.get("IPRange")) for item in found[0]["IPAM"]["Config"]]
    if ranges != [(str(APP_SUBNET), str(APP_DYNAMIC))]:
        return f"its addresses are {ranges}"
    return _running(facts, NETWORK_UNIT)


@_check("proxy", "Proxy runs, answers and is new enough")
def _proxy(facts: Facts, profile: HostProfile) -> str:
    if not profile.proxy.enabled:
        return ""
    problem = _running(facts, SOCKET_UNIT, SERVICE_UNIT)
    if problem:
        return problem
    version = re.match(r"v(\d+)\.(\d+)", facts.text("caddy"))
    if version is None or (int(version.group(1)), int(version.group(2))) < MINIMUM:
        return f"Caddy is {facts.text('caddy') or 'missing'}; the least is {MINIMUM[0]}.{MINIMUM[1]}"
    return (
        ""
        if re.fullmatch(r"[2-5]\d\d", facts.text("http"))
        else f"nothing answers on port {profile.proxy.http_port}"
    )


@_check("admin", "Users may drive the proxy, strangers may not")
def _admin(facts: Facts, profile: HostProfile) -> str:
    if not profile.proxy.enabled:
        return ""
    modes = facts.table("modes")
    wanted = {ADMIN: "660 freehold-proxy freehold", "/run/freehold-proxy": "750 freehold-proxy freehold"}
    for path, mode in wanted.items():
        if modes.get(path) != mode:
            return f"{path} is {modes.get(path, 'missing')}, not {mode}"
    answer = facts.text("admin")
    return "" if answer == "200" or not profile.users else f"the admin API answers {answer or 'nothing'}"


@_check("state", "Directories of the deploys")
def _state(facts: Facts, _profile: HostProfile) -> str:
    modes = facts.table("modes")
    wrong = [path for path in (*SHARED, LOCKS) if modes.get(path.lower()) != "2775 root freehold"]
    return f"not 2775 root:freehold: {', '.join(wrong)}" if wrong else ""


@_check("users", "Users, their shells and groups")
def _users(facts: Facts, profile: HostProfile) -> str:
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


@_check("keys", "SSH keys")
def _keys(facts: Facts, profile: HostProfile) -> str:
    lines = [line.split() for line in facts.lines("keys")]
    problems = []
    for user in profile.users:
        present = {word for name, *words in lines if name == user.name for word in words}
        if not present:
            problems.append(f"{user.name} has no key")
        missing = [key for key in user.public_keys if key.data not in present]
        problems += [f"{user.name} lacks {key.comment or key.fingerprint}" for key in missing]
    return "; ".join(problems)


@_check("sudo", "sudo without a password, for those who may")
def _sudo(facts: Facts, profile: HostProfile) -> str:
    able = set(facts.lines("sudo"))
    wrong = [user.name for user in profile.users if (user.name in able) is not user.sudo]
    return f"not as the profile says: {', '.join(wrong)}" if wrong else ""


@_check("ssh", "SSH server takes keys only")
def _ssh(facts: Facts, profile: HostProfile) -> str:
    found = facts.table("sshd")
    if not found:
        return "sshd does not tell its settings"
    # sshd -T says without-password where the file says prohibit-password.
    same = {"prohibit-password": "without-password"}
    wrong = []
    for name, wanted in {"Port": str(profile.ssh.port), **ssh.settings(profile)}.items():
        value = found.get(name.lower(), "")
        if value not in (wanted, same.get(wanted)):
            wrong.append(f"{name} is {value or 'not set'}")
    return "; ".join(wrong)


@_check("firewall", "Firewall is loaded and drops what is not allowed")
def _firewall(facts: Facts, profile: HostProfile) -> str:
    if not profile.firewall.enabled:
        return ""
    found = facts.json("firewall")
    if not found:
        return "the table of the firewall is not loaded"
    chains = [item["chain"] for item in found["nftables"] if "chain" in item]
    dropping = {chain.get("hook") for chain in chains if chain.get("policy") == "drop"}
    if not {"input", "forward"} <= dropping:
        return "it lets through what nothing allows"
    return _running(facts, "nftables.service")


@_check("updates", "Unattended updates")
def _updates(facts: Facts, profile: HostProfile) -> str:
    found = {key: value.strip('";') for key, value in (line.split(" ", 1) for line in facts.lines("updates"))}
    enabled = found.get("APT::Periodic::Unattended-Upgrade") == "1"
    if enabled is not profile.updates.enabled:
        return "on" if enabled else "off"
    if not enabled:
        return ""
    if (found.get("Unattended-Upgrade::Automatic-Reboot") == "true") is not bool(profile.updates.reboot):
        return "reboots are not as the profile says"
    return _running(facts, "apt-daily-upgrade.timer")


@_check("time", "Time zone and clock")
def _time(facts: Facts, profile: HostProfile) -> str:
    zone = facts.text("zone").removeprefix("/usr/share/zoneinfo/")
    # Debian links the names of one zone to each other.
    if zone != profile.timezone and {zone, profile.timezone} - {"Etc/UTC", "UTC", "Etc/UCT", "UCT", "Zulu"}:
        return f"the time zone is {zone}"
    if facts.text("container") not in ("", "none"):
        return ""
    clocks = ("systemd-timesyncd.service", "chrony.service")
    running = any(facts.unit(unit).get("ActiveState") == "active" for unit in clocks)
    return "" if running else "nothing keeps the clock"


@_check("locale", "Locale")
def _locale(facts: Facts, profile: HostProfile) -> str:
    return "" if f"LANG={profile.locale}" in facts.lines("locale") else facts.text("locale") or "not set"


@_check("kernel", "Kernel settings and swap")
def _kernel(facts: Facts, profile: HostProfile) -> str:
    if facts.text("container") not in ("", "none"):
        return ""
    found = facts.table("sysctl", "=")
    wrong = [
        name for name, value in profile.sysctl.items() if found.get(name.lower(), "").split() != value.split()
    ]
    if wrong:
        return f"not as the profile says: {', '.join(wrong)}"
    return "no swap" if profile.swap and not facts.text("swap") else ""


@_check("packages", "Packages")
def _packages(facts: Facts, profile: HostProfile) -> str:
    found = facts.table("packages")
    missing = [name for name in profile.packages if found.get(name) != "installed"]
    return f"missing: {', '.join(missing)}" if missing else ""


@_check("files", "Files are as the recipe wrote them")
def _files(facts: Facts, profile: HostProfile) -> str:
    found = {path: digest for digest, _, path in (line.partition("  ") for line in facts.lines("files"))}
    wrong = []
    for step in make_recipe(profile).steps:
        for item in step.files:
            content = item.content if item.content.endswith("\n") else item.content + "\n"
            if found.get(item.path) != hashlib.sha256(content.encode()).hexdigest():
                wrong.append(item.path)
    return f"changed or missing: {', '.join(wrong)}" if wrong else ""


@_check("exposure", "Nothing is open that nobody opened")
def _exposure(facts: Facts, profile: HostProfile) -> str:
    if profile.firewall.enabled:
        return ""
    http, https = profile.proxy.http_port, profile.proxy.https_port
    allowed = {("tcp", profile.ssh.port), ("tcp", http), ("tcp", https), ("udp", https), ("udp", 68)}
    found = []
    for line in facts.lines("listeners"):
        protocol, _, _, _, local, *rest = line.split()
        address, _, port = local.rpartition(":")
        loopback = address.strip("[]").split("%")[0].startswith(("127.", "::1"))
        if not loopback and port.isdigit() and (protocol, int(port)) not in allowed:
            program = re.search(r'"([^"]+)"', " ".join(rest))
            found.append(f"{port}/{protocol} ({program.group(1) if program else '?'})")
    return f"reachable from outside: {', '.join(found)}" if found else ""
