"""What serves applications: Docker, its network, the proxy, the state of the deploys."""

from __future__ import annotations

import re

from cloudinit.checks.model import check, running
from cloudinit.facts import Facts
from cloudinit.parts.caddyfile import ADMIN
from cloudinit.parts.docker import NETWORK_UNIT, engine_options
from cloudinit.parts.lastgood import PATH_UNIT, reason
from cloudinit.parts.listeners import SERVICE_UNIT, SOCKET_UNIT
from cloudinit.parts.users import LOCKS, SHARED
from cloudinit.profile import HostProfile
from cloudinit.proxybinary import MINIMUM
from cloudinit.services import APP_DYNAMIC, APP_SUBNET


@check("docker", "Docker runs with the profile's options")
def docker(facts: Facts, profile: HostProfile) -> str:
    problem = running(facts, "docker.service")
    info = facts.json("docker")
    if problem or not isinstance(info, dict) or not info.get("ServerVersion"):
        return problem or "the engine does not answer"
    if info.get("LiveRestoreEnabled") is not profile.docker.live_restore:
        return "live-restore is not as the profile says"
    wanted = engine_options(profile)["log-driver"]
    return "" if info.get("LoggingDriver") == wanted else f"containers log by {info.get('LoggingDriver')}"


@check("network", "Application network")
def network(facts: Facts, _profile: HostProfile) -> str:
    found = facts.json("network")
    if not found:
        return "the Docker network freehold is missing"
    ranges = [(item.get("Subnet"), item.get("IPRange")) for item in found[0]["IPAM"]["Config"]]
    if ranges != [(str(APP_SUBNET), str(APP_DYNAMIC))]:
        return f"its addresses are {ranges}"
    return running(facts, NETWORK_UNIT)


@check("proxy", "Proxy runs, answers and is new enough")
def proxy(facts: Facts, profile: HostProfile) -> str:
    if not profile.proxy.enabled:
        return ""
    problem = running(facts, SOCKET_UNIT, SERVICE_UNIT, PATH_UNIT)
    if problem:
        return f"{problem}: {why}" if (why := reason(facts.text("failing"))) else problem
    if facts.text("refused"):
        why = reason(facts.text("refused"))
        return f"it serves by the last configuration that it accepted, as it refuses the present one: {why}"
    version = re.match(r"v(\d+)\.(\d+)", facts.text("caddy"))
    if version is None or (int(version.group(1)), int(version.group(2))) < MINIMUM:
        return f"Caddy is {facts.text('caddy') or 'missing'}; the least is {MINIMUM[0]}.{MINIMUM[1]}"
    answered = re.fullmatch(r"[2-5]\d\d", facts.text("http"))
    return "" if answered else f"nothing answers on port {profile.proxy.http_port}"


@check("admin", "Users may drive the proxy, strangers may not")
def admin(facts: Facts, profile: HostProfile) -> str:
    if not profile.proxy.enabled:
        return ""
    modes = facts.table("modes")
    wanted = {ADMIN: "660 freehold-proxy freehold", "/run/freehold-proxy": "750 freehold-proxy freehold"}
    for path, mode in wanted.items():
        if modes.get(path) != mode:
            return f"{path} is {modes.get(path, 'missing')}, not {mode}"
    answer = facts.text("admin")
    return "" if answer == "200" or not profile.users else f"the admin API answers {answer or 'nothing'}"


@check("state", "Directories of the deploys")
def state(facts: Facts, _profile: HostProfile) -> str:
    modes = facts.table("modes")
    wrong = [path for path in (*SHARED, LOCKS) if modes.get(path.lower()) != "2775 root freehold"]
    return f"not 2775 root:freehold: {', '.join(wrong)}" if wrong else ""


CHECKS = (docker, network, proxy, admin, state)
