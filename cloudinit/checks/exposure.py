"""What can be reached from outside."""

from __future__ import annotations

import re

from cloudinit.checks.model import check, running
from cloudinit.facts import Facts
from cloudinit.profile import HostProfile


@check("firewall", "Firewall is loaded and drops what is not allowed")
def firewall(facts: Facts, profile: HostProfile) -> str:
    if not profile.firewall.enabled:
        return ""
    found = facts.json("firewall")
    if not found:
        return "the table of the firewall is not loaded"
    chains = [item["chain"] for item in found["nftables"] if "chain" in item]
    dropping = {chain.get("hook") for chain in chains if chain.get("policy") == "drop"}
    if not {"input", "forward"} <= dropping:
        return "it lets through what nothing allows"
    return running(facts, "nftables.service")


@check("exposure", "Nothing is open that nobody opened")
def exposure(facts: Facts, profile: HostProfile) -> str:
    if profile.firewall.enabled:
        return ""
    allowed = {("tcp", profile.ssh.port), ("tcp", 80), ("tcp", 443), ("udp", 443), ("udp", 68)}
    found = []
    for line in facts.lines("listeners"):
        protocol, _, _, _, local, *rest = line.split()
        address, _, port = local.rpartition(":")
        loopback = address.strip("[]").split("%")[0].startswith(("127.", "::1"))
        if not loopback and port.isdigit() and (protocol, int(port)) not in allowed:
            program = re.search(r'"([^"]+)"', " ".join(rest))
            found.append(f"{port}/{protocol} ({program.group(1) if program else '?'})")
    return f"reachable from outside: {', '.join(found)}" if found else ""


CHECKS = (firewall, exposure)
